//! Many subscriptions follow subjects that get messages at a rate.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::grpc::{Connection, Method, WIDE};
use crate::job::Job;
use crate::meter::{self, Report, Tally};
use crate::subscribe::{per_frame, Subscription};
use crate::ticker::Ticker;
use crate::{wire, Fault};

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a body that say when it was sent, in microseconds since the load's start.
const STAMP: usize = 8;

/// `streams` subscriptions on `connections` connections follow `subjects` subjects, which get `rate` messages a second
/// in all, `frame` in each call. With a second replica, that is where they are published.
pub async fn run(job: &Job) -> Result<Report, Fault> {
    let start = Instant::now();
    let subjects: Vec<_> = (0..job.subjects).map(|number| format!("bench-{number}")).collect();
    let connections = Connection::open_many(&job.target, WIDE, job.connections).await?;
    // As many on each subject.
    let calls = |time| job.ticks(time) / subjects.len() * subjects.len();
    let (warm, all) = (calls(job.warm_up()), calls(job.warm_up() + job.seconds()));
    let per_subject = |calls: usize| (calls / subjects.len() * job.frame) as u64;
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let mut subscribers = Vec::new();
    for number in 0..job.streams {
        let connection = &connections[number % connections.len()];
        let subject = &subjects[number % subjects.len()];
        let mut subscription = Subscription::open(connection, job, subject, false).await?;
        let (seen, latencies) = (subscription.seen.clone(), latencies.clone());
        let (warm, last) = (per_subject(warm), per_subject(all));
        let reader = spawn_local(async move {
            let each = |id, body: &[u8]| {
                if id > warm {
                    latencies.borrow_mut().push(since_sent(start, body));
                }
            };
            subscription.read_until(last, each).await.err().map(|fault| fault.to_string())
        });
        subscribers.push((seen, reader));
    }

    let target = if job.other.is_empty() { &job.target } else { &job.other };
    let publisher = Publisher::open(target, job.frame, job.body).await?;
    let mut ticker = Ticker::start(job.rate as f64 / job.frame as f64)?;
    let mut began = Instant::now();
    let mut sent = 0;
    while sent < all {
        for _ in ticker.due().await?.take(all - sent) {
            if sent == warm {
                began = meter::begin();
            }
            publisher.send(start, &subjects[sent % subjects.len()]);
            sent += 1;
        }
    }

    let mut problems = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (mut seen, mut faults) = (Vec::new(), Vec::new());
    for (one, reader) in subscribers {
        // One that never gets all is told by what it has seen.
        faults.extend(tokio::time::timeout_at(deadline, reader).await.ok().transpose()?.flatten());
        seen.push(one);
    }
    let time = meter::end(began)?;
    faults.dedup();
    problems.extend(faults);
    problems.extend(seen.iter().find_map(|one| one.problems(per_subject(all))));
    let mut published = Report::default();
    timeout(PATIENCE, publisher.done()).await.map_err(|_| "publishes were never answered")?;
    publisher.tally.report(&mut published, false);
    problems.append(&mut published.problems);
    let (count, frames) = seen.iter().fold((0, 0), |sum, one| (sum.0 + one.count.get(), sum.1 + one.frames.get()));
    let latencies = latencies.take();
    Ok(Report { count: latencies.len() as u64, time, latencies, problems, note: per_frame(count, frames) })
}

fn since_sent(start: Instant, body: &[u8]) -> u32 {
    let sent = body.first_chunk::<STAMP>().map_or(0, |stamp| u64::from_be_bytes(*stamp));
    u32::try_from((start.elapsed().as_micros() as u64).saturating_sub(sent)).unwrap_or(u32::MAX)
}

/// Publishes stamped messages, one call for each `send`.
struct Publisher {
    method: Method,
    tally: Rc<Tally>,
    messages: usize,
    body: usize,
    _connection: Connection,
}

impl Publisher {
    async fn open(target: &str, messages: usize, body: usize) -> Result<Self, Fault> {
        let connection = Connection::open(target, WIDE).await?;
        let method = connection.method(if messages == 1 { "Publish" } else { "PublishBatch" })?;
        Ok(Self { method, tally: Rc::new(Tally::endless()), messages, body: body.max(STAMP), _connection: connection })
    }

    fn send(&self, start: Instant, subject: &str) {
        let sent = Instant::now();
        let mut body = vec![0; self.body];
        body[..STAMP].copy_from_slice(&((sent - start).as_micros() as u64).to_be_bytes());
        let one = wire::publish(subject, &body);
        let (method, tally, messages) = (self.method.clone(), self.tally.clone(), self.messages);
        spawn_local(async move {
            let request = if messages == 1 { one } else { wire::batch(&one, messages) };
            match method.unary(wire::framed(&request)).await {
                Ok(answer) if messages == 1 => tally.acknowledge(1, wire::published_id(&answer), sent),
                Ok(answer) if wire::published_ids(&answer).0 == messages as u64 => (),
                Ok(_) => tally.fault("messages of a batch were refused"),
                Err(fault) => tally.fault(fault),
            }
        });
    }

    /// Waits for the answers.
    async fn done(&self) {
        while Rc::strong_count(&self.tally) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
