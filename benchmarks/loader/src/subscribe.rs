//! One subscription that replays or follows at full speed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use crate::grpc::{Connection, Messages, WIDE};
use crate::job::Job;
use crate::meter::{self, Report, Tally};
use crate::publish::{self, Publishers, SUBJECT};
use crate::{wire, Fault};

const PATIENCE: Duration = Duration::from_secs(60);

/// A subscription that checks that no id is missing, doubled or out of order.
pub struct Subscription {
    messages: Messages,
    batched: bool,
    pub seen: Rc<Seen>,
}

/// What a subscription has got so far.
#[derive(Default)]
pub struct Seen {
    pub count: Cell<u64>,
    pub frames: Cell<u64>,
    pub last_id: Cell<u64>,
    pub gaps: Cell<u64>,
}

impl Seen {
    fn message(&self, id: u64) {
        self.gaps.set(self.gaps.get() + u64::from(id != self.last_id.get() + 1));
        self.count.set(self.count.get() + 1);
        self.last_id.set(id);
    }

    /// The problems of a subscription that should have got the messages 1 to `last`, each once and in order.
    pub fn problems(&self, last: u64) -> Option<String> {
        let (count, gaps) = (self.count.get(), self.gaps.get());
        (count != last || gaps > 0).then(|| format!("a subscriber got {count} of {last} messages, with {gaps} gaps"))
    }
}

impl Subscription {
    /// Returns when the subscription stands.
    pub async fn open(connection: &Connection, job: &Job, subject: &str, earliest: bool) -> Result<Self, Fault> {
        let method = connection.method(job.subscribe())?;
        let messages = method.subscription(&wire::subscribe(subject, earliest)).await?;
        Ok(Self { messages, batched: job.batched, seen: Rc::default() })
    }

    /// Reads until the message with this id has come; `each` gets the id and body of every message.
    pub async fn read_until(&mut self, last_id: u64, mut each: impl FnMut(u64, &[u8])) -> Result<(), Fault> {
        let (seen, batched) = (&self.seen, self.batched);
        let mut one = |message: &[u8]| {
            let (id, body) = wire::message(message);
            seen.message(id);
            each(id, body);
        };
        while seen.last_id.get() < last_id {
            let more = self.messages.read(|frame| {
                seen.frames.set(seen.frames.get() + 1);
                if batched {
                    wire::messages(frame).for_each(&mut one);
                } else {
                    one(frame);
                }
            });
            if !more.await? {
                return Err("the server ended a subscription".into());
            }
        }
        Ok(())
    }
}

/// Preloads `messages` messages, then times one subscription from its request to the last of them.
pub async fn replay(job: &Job) -> Result<Report, Fault> {
    publish::preload(job).await?;
    let connection = Connection::open(&job.target, WIDE).await?;
    let last = job.messages as u64;
    let began = meter::begin();
    let mut subscription = Subscription::open(&connection, job, SUBJECT, true).await?;
    timeout(PATIENCE, subscription.read_until(last, |_, _| ())).await.map_err(|_| "messages never came")??;
    let time = meter::end(began)?;
    let seen = &subscription.seen;
    let note = per_frame(seen.count.get(), seen.frames.get());
    Ok(Report {
        count: seen.count.get(),
        time,
        problems: seen.problems(last).into_iter().collect(),
        note,
        ..Report::default()
    })
}

/// One subscription follows while a PublishStream publishes as fast as it is acknowledged.
pub async fn live(job: &Job) -> Result<Report, Fault> {
    let connection = Connection::open(&job.target, WIDE).await?;
    let mut subscription = Subscription::open(&connection, job, SUBJECT, false).await?;
    let seen = subscription.seen.clone();
    // Told when the publishers are done; until then there is no last message.
    let last = Rc::new(Cell::new(u64::MAX));
    let until = last.clone();
    let follower = spawn_local(async move {
        while subscription.seen.last_id.get() < until.get() {
            let next = subscription.seen.last_id.get() + 1;
            if let Err(fault) = subscription.read_until(next, |_, _| ()).await {
                return Some(fault.to_string());
            }
        }
        None
    });
    let publishers = Publishers::start(job, Tally::endless()).await?;
    sleep(job.warm_up()).await;
    let began = meter::begin();
    let (count, frames) = (seen.count.get(), seen.frames.get());
    sleep(job.seconds()).await;
    let (count, frames) = (seen.count.get() - count, seen.frames.get() - frames);
    publishers.tally.stop();
    let mut report = Report { count, time: meter::end(began)?, note: per_frame(count, frames), ..Report::default() };
    let acknowledged = publishers.done().await?.acknowledged.get();
    last.set(acknowledged);
    if seen.last_id.get() < acknowledged {
        let ended = timeout(PATIENCE, follower).await.map_err(|_| "messages never came")??;
        report.problems.extend(ended);
    }
    report.problems.extend(seen.problems(acknowledged));
    Ok(report)
}

pub fn per_frame(count: u64, frames: u64) -> String {
    format!("{:.0} messages a frame", count as f64 / frames.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::Seen;

    fn seen(ids: &[u64]) -> Seen {
        let seen = Seen::default();
        ids.iter().for_each(|id| seen.message(*id));
        seen
    }

    #[test]
    fn each_id_once_and_in_order_is_no_problem() {
        assert_eq!(seen(&[1, 2, 3]).problems(3), None);
    }

    #[test]
    fn what_is_missing_doubled_or_out_of_order_is_told() {
        for ids in [&[1, 2][..], &[1, 3], &[2, 3], &[1, 2, 2], &[1, 3, 2], &[1, 1, 3]] {
            assert!(seen(ids).problems(3).is_some(), "{ids:?}");
        }
    }
}
