//! Calls with one answer: as fast as they are answered, or at a rate whatever the server does.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::{spawn_local, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::grpc::{Connection, Method, WIDE};
use crate::job::Job;
use crate::meter::{self, Report, Tally};
use crate::ticker::Ticker;
use crate::{publish, wire, Fault};

/// How long answers may take that are missing at the end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls of an open loop that may wait for their answers.
const MOST_WAITING: usize = 50_000;

/// `Publish`, with `in_flight` calls at once on each connection, to each of `subjects` subjects in turn; with two
/// targets, on each subjects of its own.
pub async fn closed(job: &Job) -> Result<Report, Fault> {
    let mut targets = vec![job.target.as_str()];
    targets.extend((!job.other.is_empty()).then_some(job.other.as_str()));
    let tallies: Vec<_> = targets.iter().map(|_| Rc::new(Tally::endless())).collect();
    let mut connections = Vec::new();
    let mut callers = Vec::new();
    for number in 0..job.connections {
        let (target, tally) = (targets[number % targets.len()], &tallies[number % targets.len()]);
        let connection = Connection::open(target, WIDE).await?;
        let request = |subject| wire::framed(&wire::publish(&format!("bench-{target}-{subject}"), &vec![0; job.body]));
        let requests: Rc<[Bytes]> = (0..job.subjects).map(request).collect();
        for caller in 0..job.in_flight {
            let (method, tally, requests) = (connection.method("Publish")?, tally.clone(), requests.clone());
            let mut index = (number * job.in_flight + caller) * 997 % requests.len();
            callers.push(spawn_local(async move {
                while tally.next() {
                    let request = &requests[index];
                    index = (index + 1) % requests.len();
                    // A caller that meets a fault stops; the run has failed anyway.
                    publish_once(&method, request.clone(), &tally, Instant::now()).await.ok()?;
                }
                Some(())
            }));
        }
        connections.push(connection);
    }
    // Ids are dense in each subject, and all of a tally are counted together.
    run_callers(job, &tallies, callers, job.subjects == 1).await
}

/// `Fetch` of messages published before, each in turn, with `in_flight` calls at once on each connection.
pub async fn fetch(job: &Job) -> Result<Report, Fault> {
    publish::preload(job).await?;
    let requests: Rc<[Bytes]> =
        (1..=job.messages as u64).map(|id| wire::framed(&wire::fetch(publish::SUBJECT, id))).collect();
    let tally = Rc::new(Tally::endless());
    let connections = Connection::open_many(&job.target, WIDE, job.connections).await?;
    let mut callers = Vec::new();
    for (number, connection) in connections.iter().enumerate() {
        for caller in 0..job.in_flight {
            let (method, tally, requests) = (connection.method("Fetch")?, tally.clone(), requests.clone());
            let mut index = (number * job.in_flight + caller) * 997 % requests.len();
            callers.push(spawn_local(async move {
                while tally.next() {
                    let (began, asked) = (Instant::now(), index as u64 + 1);
                    match method.unary(requests[index].clone()).await {
                        Ok(answer) if wire::message(&answer).0 == asked => tally.acknowledge(1, asked, began),
                        Ok(_) => tally.fault("another message than the one asked for"),
                        Err(fault) => {
                            tally.fault(fault);
                            return None;
                        }
                    }
                    index = (index + 1) % requests.len();
                }
                Some(())
            }));
        }
    }
    run_callers(job, &[tally], callers, false).await
}

/// `Publish` at `rate` calls a second over the connections in turn; a call's latency counts from when it was due.
pub async fn open(job: &Job) -> Result<Report, Fault> {
    let connections = Connection::open_many(&job.target, WIDE, job.connections).await?;
    let methods = connections.iter().map(|one| one.method("Publish")).collect::<Result<Vec<_>, _>>()?;
    let request = wire::framed(&wire::publish(publish::SUBJECT, &vec![0; job.body]));
    let tally = Rc::new(Tally::endless());
    let (warm, all) = (job.ticks(job.warm_up()), job.ticks(job.warm_up() + job.seconds()));
    let mut ticker = Ticker::start(job.rate as f64)?;
    let mut sent = 0;
    let mut began = Instant::now();
    while sent < all {
        for due in ticker.due().await? {
            if sent == warm {
                began = meter::begin();
                tally.measure();
            }
            let (method, request, one) = (methods[sent % methods.len()].clone(), request.clone(), tally.clone());
            spawn_local(async move { publish_once(&method, request, &one, due).await.ok() });
            sent += 1;
            if sent == all {
                break;
            }
        }
        if Rc::strong_count(&tally) > MOST_WAITING {
            return Err(format!("{MOST_WAITING} calls wait for an answer: {} a second is too much", job.rate).into());
        }
    }
    // Those that are on their way count as well, with the time they take.
    let waiting = async {
        while Rc::strong_count(&tally) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.map_err(|_| "calls were never answered")?;
    let mut report = Report { time: meter::end(began)?, ..Report::default() };
    tally.report(&mut report, true);
    Ok(report)
}

async fn publish_once(method: &Method, request: Bytes, tally: &Tally, since: Instant) -> Result<(), ()> {
    match method.unary(request).await.map(|answer| wire::published_id(&answer)) {
        Ok(0) => tally.fault("an answer without an id"),
        Ok(id) => tally.acknowledge(1, id, since),
        Err(fault) => {
            tally.fault(fault);
            return Err(());
        }
    }
    Ok(())
}

async fn run_callers(
    job: &Job,
    tallies: &[Rc<Tally>],
    callers: Vec<JoinHandle<Option<()>>>,
    dense: bool,
) -> Result<Report, Fault> {
    sleep(job.warm_up()).await;
    let began = meter::begin();
    tallies.iter().for_each(|tally| tally.measure());
    sleep(job.seconds()).await;
    tallies.iter().for_each(|tally| tally.stop());
    let mut report = Report { time: meter::end(began)?, ..Report::default() };
    for caller in callers {
        timeout(PATIENCE, caller).await.map_err(|_| "a call was never answered")??;
    }
    tallies.iter().for_each(|tally| tally.report(&mut report, dense));
    Ok(report)
}
