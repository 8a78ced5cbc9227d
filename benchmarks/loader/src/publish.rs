//! `PublishStream` in a closed loop: a window of frames waits for its acknowledgements.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::{spawn_local, JoinHandle};
use tokio::time::{sleep, timeout};

use crate::grpc::{Connection, Method, WIDE};
use crate::job::Job;
use crate::meter::{self, Report, Tally};
use crate::{wire, Fault};

pub const SUBJECT: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(60);

/// Streams that send frames as long as their tally says so.
pub struct Publishers {
    pub tally: Rc<Tally>,
    streams: Vec<JoinHandle<()>>,
    _connections: Vec<Connection>,
}

impl Publishers {
    /// One stream on each of `connections` connections, with `in_flight` frames unanswered on each.
    pub async fn start(job: &Job, tally: Tally) -> Result<Self, Fault> {
        let frame = wire::framed(&wire::batch(&wire::publish(SUBJECT, &vec![0; job.body]), job.frame));
        let tally = Rc::new(tally);
        let connections = Connection::open_many(&job.target, WIDE, job.connections).await?;
        let mut streams = Vec::new();
        for connection in &connections {
            let (method, frame, window, messages) =
                (connection.method("PublishStream")?, frame.clone(), job.in_flight, job.frame as u64);
            let tally = tally.clone();
            streams.push(spawn_local(async move {
                if let Err(fault) = stream(&method, frame, messages, window, &tally).await {
                    tally.fault(fault);
                }
            }));
        }
        Ok(Self { tally, streams, _connections: connections })
    }

    /// Waits until every frame that was sent is answered.
    pub async fn done(self) -> Result<Rc<Tally>, Fault> {
        for stream in self.streams {
            timeout(PATIENCE, stream).await.map_err(|_| "a frame was never answered")??;
        }
        Ok(self.tally)
    }
}

async fn stream(method: &Method, frame: Bytes, messages: u64, window: usize, tally: &Tally) -> Result<(), Fault> {
    let (mut out, mut answers) = method.dialogue().await?;
    let mut sent = VecDeque::with_capacity(window);
    while sent.len() < window && tally.next() {
        out.send_data(frame.clone(), false)?;
        sent.push_back(Instant::now());
    }
    while !sent.is_empty() {
        let mut answered = Vec::new();
        if !answers.read(|answer| answered.push(wire::published_ids(answer))).await? {
            return Err("the server ended a stream before it had answered all".into());
        }
        for (accepted, last_id) in answered {
            let since = sent.pop_front().ok_or("an answer to no frame")?;
            if accepted != messages {
                tally.fault(format!("only {accepted} messages of a frame accepted"));
            }
            tally.acknowledge(accepted, last_id, since);
            if tally.next() {
                out.send_data(frame.clone(), false)?;
                sent.push_back(Instant::now());
            }
        }
    }
    out.send_data(Bytes::new(), true)?;
    while answers.read(|_| ()).await? {}
    Ok(())
}

/// Publishes `messages` messages to an empty subject.
pub async fn preload(job: &Job) -> Result<(), Fault> {
    let publishers = Publishers::start(job, Tally::of(job.messages as u64 / job.frame as u64)).await?;
    let mut report = Report::default();
    publishers.done().await?.report(&mut report, true);
    match report.problems.first() {
        Some(problem) => Err(format!("before the measurement: {problem}").into()),
        None => {
            meter::preloaded();
            Ok(())
        }
    }
}

/// Publishes as fast as frames are acknowledged.
pub async fn run(job: &Job) -> Result<Report, Fault> {
    let publishers = Publishers::start(job, Tally::endless()).await?;
    sleep(job.warm_up()).await;
    let began = meter::begin();
    publishers.tally.measure();
    sleep(job.seconds()).await;
    publishers.tally.stop();
    let mut report = Report { time: meter::end(began)?, ..Report::default() };
    publishers.done().await?.report(&mut report, true);
    Ok(report)
}
