//! `loader JOB`: put one load on a gRPC server, with one thread, and say what was seen.
//!
//! JOB is the JSON of `benchmarks/load/job.py`. Standard output has a line `preloaded` where something was published
//! before, and lines `begin` and `end` around the measured time, so that who started this can read clocks; after `end`
//! it waits for a line on standard input. The last line is the report as JSON. Every answer is checked; what was wrong is in the report's `problems`.

mod crowd;
mod fan_out;
mod grpc;
mod job;
mod meter;
mod publish;
mod subscribe;
mod ticker;
mod unary;
mod wire;

use job::Job;
use meter::Report;

/// Why a load could not be put, or could not go on: for people.
type Fault = Box<dyn std::error::Error>;

async fn run(job: &Job) -> Result<Report, Fault> {
    match job.kind.as_str() {
        "unary" => unary::closed(job).await,
        "open" => unary::open(job).await,
        "fetch" => unary::fetch(job).await,
        "publish" => publish::run(job).await,
        "replay" => subscribe::replay(job).await,
        "live" => subscribe::live(job).await,
        "fan-out" => fan_out::run(job).await,
        "idle" => crowd::idle(job).await,
        "flood" => crowd::flood(job).await,
        other => Err(format!("there is no load {other:?}").into()),
    }
}

fn main() -> Result<(), Fault> {
    let text = std::env::args().nth(1).ok_or("usage: loader JOB, the JSON of benchmarks/load/job.py")?;
    let job: Job = serde_json::from_str(&text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = tokio::task::LocalSet::new().block_on(&runtime, run(&job))?;
    println!("{}", report.to_json());
    Ok(())
}
