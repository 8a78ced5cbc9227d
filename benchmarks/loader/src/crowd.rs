//! Thousands of subscriptions: that do nothing, or that are flooded and never read.

use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::grpc::{Connection, WIDE};
use crate::job::Job;
use crate::meter::{self, Report};
use crate::publish::{self, SUBJECT};
use crate::subscribe::Subscription;
use crate::ticker::Ticker;
use crate::{wire, Fault};

const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that the server may send on a stream that nobody reads.
const NARROW: u32 = 1 << 10;

/// `streams` subscriptions on `connections` connections get nothing; after the measured time one message reaches each.
pub async fn idle(job: &Job) -> Result<Report, Fault> {
    let (connections, mut subscriptions) = subscribe_all(job, WIDE, false).await?;
    let began = meter::begin();
    sleep(job.seconds()).await;
    meter::end(began)?;
    let request = wire::framed(&wire::publish(SUBJECT, &vec![0; job.body]));
    connections[0].method("Publish")?.unary(request).await?;
    let all_reached = async {
        for subscription in &mut subscriptions {
            subscription.read_until(1, |_, _| ()).await?;
        }
        Ok::<_, Fault>(())
    };
    timeout(PATIENCE, all_reached).await.map_err(|_| "a message did not reach every subscription")??;
    let problems = subscriptions.iter().find_map(|one| one.seen.problems(1)).into_iter().collect();
    Ok(Report { count: job.streams as u64, time: Duration::from_secs(1), problems, ..Report::default() })
}

/// `streams` subscriptions ask for `messages` messages published before and read none of them, while `rate` messages a
/// second are published that one subscription reads. The latency is that one's.
pub async fn flood(job: &Job) -> Result<Report, Fault> {
    publish::preload(job).await?;
    let (crowd, subscriptions) = subscribe_all(job, NARROW, true).await?;
    let connection = Connection::open(&job.target, WIDE).await?;
    let mut healthy = Subscription::open(&connection, job, SUBJECT, true).await?;
    let publisher = connection.method("Publish")?;
    let body = vec![0; job.body];
    let request = wire::framed(&wire::publish(SUBJECT, &body));
    let (first, calls) = (job.messages as u64, job.ticks(job.seconds()));
    let seen = healthy.seen.clone();
    let reader = spawn_local(async move {
        let read = healthy.read_until(first + calls as u64, |_, _| ()).await;
        read.map_err(|fault| fault.to_string())
    });
    let began = meter::begin();
    let mut ticker = Ticker::start(job.rate as f64)?;
    let (mut sent, mut latencies, mut problems) = (0, Vec::with_capacity(calls), Vec::new());
    while sent < calls {
        let due: Vec<Instant> = ticker.due().await?.take(calls - sent).collect();
        for due in due {
            publisher.unary(request.clone()).await?;
            latencies.push(meter::micros(due));
            sent += 1;
        }
    }
    match timeout(PATIENCE, reader).await {
        Ok(read) => problems.extend(read?.err()),
        Err(_) => problems.push("the subscriber that reads did not get all".into()),
    }
    problems.extend(seen.problems(first + calls as u64));
    meter::end(began)?;
    drop((subscriptions, crowd));
    Ok(Report { count: job.streams as u64, time: Duration::from_secs(1), latencies, problems, ..Report::default() })
}

async fn subscribe_all(job: &Job, window: u32, earliest: bool) -> Result<(Vec<Connection>, Vec<Subscription>), Fault> {
    let connections = Connection::open_many(&job.target, window, job.connections).await?;
    let mut subscriptions = Vec::with_capacity(job.streams);
    for number in 0..job.streams {
        let connection = &connections[number % connections.len()];
        let opened = timeout(PATIENCE, Subscription::open(connection, job, SUBJECT, earliest)).await;
        subscriptions.push(opened.map_err(|_| "a subscription did not stand in time")??);
    }
    Ok((connections, subscriptions))
}
