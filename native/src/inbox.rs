//! What has happened since Python last looked.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;

use crate::bell::Bell;
use crate::budget::Charge;
use crate::lock;

pub struct Arrival {
    pub token: u64,
    /// The request; none for a client stream, whose messages follow as frames.
    pub request: Option<Frame>,
    /// Values of the headers that Python asked for; none if the request has none of them.
    pub metadata: Option<Vec<Option<HeaderValue>>>,
    pub deadline: Option<Instant>,
}

/// A message of a client stream.
pub struct Frame {
    pub message: Bytes,
    /// Held until Python has taken the message.
    pub _charge: Charge,
}

/// Within a batch the order is calls, frames, gone, writable: right for each single call.
#[derive(Default)]
pub struct Batch {
    /// By route.
    pub calls: Vec<Vec<Arrival>>,
    /// None: the client has sent its last message.
    pub frames: Vec<(u64, Option<Frame>)>,
    /// The call ended without Python's doing.
    pub gone: Vec<u64>,
    pub writable: Vec<u64>,
    waiting: usize,
    signalled: bool,
}

pub struct Inbox {
    batch: Mutex<Batch>,
    routes: usize,
    max_waiting: usize,
    bell: Bell,
    batches: AtomicU64,
}

impl Inbox {
    pub fn new(routes: usize, max_waiting: usize) -> std::io::Result<Self> {
        let inbox =
            Inbox { batch: Mutex::default(), routes, max_waiting, bell: Bell::new()?, batches: AtomicU64::new(0) };
        inbox.take();
        Ok(inbox)
    }

    pub fn fileno(&self) -> i32 {
        self.bell.fileno()
    }

    pub fn take(&self) -> Batch {
        let mut empty = Batch::default();
        empty.calls.resize_with(self.routes, Vec::new);
        self.bell.hush();
        std::mem::replace(&mut lock(&self.batch), empty)
    }

    /// Only the first event of a batch wakes Python.
    fn add(&self, change: impl FnOnce(&mut Batch)) {
        let first = {
            let mut batch = lock(&self.batch);
            change(&mut batch);
            !std::mem::replace(&mut batch.signalled, true)
        };
        if first {
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.bell.ring();
        }
    }

    /// Wakes Python though nothing has come.
    pub fn nudge(&self) {
        self.add(|_| ());
    }

    /// False: too many calls wait already.
    pub fn call(&self, route: usize, arrival: Arrival) -> bool {
        let mut taken = false;
        self.add(|batch| {
            taken = batch.waiting < self.max_waiting;
            if taken {
                batch.waiting += 1;
                batch.calls[route].push(arrival);
            }
        });
        taken
    }

    pub fn frame(&self, token: u64, frame: Option<Frame>) {
        self.add(|batch| batch.frames.push((token, frame)));
    }

    pub fn gone(&self, token: u64) {
        self.add(|batch| batch.gone.push(token));
    }

    pub fn writable(&self, token: u64) {
        self.add(|batch| batch.writable.push(token));
    }

    pub fn waiting(&self) -> usize {
        lock(&self.batch).waiting
    }

    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}
