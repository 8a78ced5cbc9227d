//! What has happened since Python last looked, and the descriptor that tells it to look.
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use http::HeaderValue;

use crate::lock;

pub struct Arrival {
    pub token: u64,
    /// The request; none for a client stream, whose messages follow as frames.
    pub message: Option<Bytes>,
    /// Values of the headers that Python asked for; none if the request has none of them.
    pub metadata: Option<Vec<Option<HeaderValue>>>,
    pub deadline: Option<Instant>,
}

/// Within a batch the order is calls, frames, gone, writable: right for each single call.
#[derive(Default)]
pub struct Batch {
    /// By route.
    pub calls: Vec<Vec<Arrival>>,
    /// None: the client has sent its last message.
    pub frames: Vec<(u64, Option<Bytes>)>,
    /// The call ended without Python's doing, with this gRPC code.
    pub gone: Vec<(u64, u32)>,
    pub writable: Vec<u64>,
    waiting: usize,
    signalled: bool,
}

pub struct Inbox {
    batch: Mutex<Batch>,
    routes: usize,
    max_waiting: usize,
    /// Written to by the runtime's thread, readable for Python's.
    bell: (UnixStream, UnixStream),
    pub wakes: AtomicU64,
}

impl Inbox {
    pub fn new(routes: usize, max_waiting: usize) -> std::io::Result<Self> {
        let inbox = Inbox {
            batch: Mutex::default(),
            routes,
            max_waiting,
            bell: UnixStream::pair()?,
            wakes: AtomicU64::new(0),
        };
        inbox.bell.0.set_nonblocking(true)?;
        inbox.bell.1.set_nonblocking(true)?;
        inbox.take();
        Ok(inbox)
    }

    pub fn fileno(&self) -> RawFd {
        self.bell.1.as_raw_fd()
    }

    pub fn take(&self) -> Batch {
        let mut empty = Batch::default();
        empty.calls.resize_with(self.routes, Vec::new);
        // reading fails only when nothing was signalled
        let _ = (&self.bell.1).read(&mut [0; 64]);
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
            self.wake();
        }
    }

    pub fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        // fails only when it is full, which wakes as well
        let _ = (&self.bell.0).write(&[1]);
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

    pub fn frame(&self, token: u64, message: Option<Bytes>) {
        self.add(|batch| batch.frames.push((token, message)));
    }

    pub fn gone(&self, token: u64, code: u32) {
        self.add(|batch| batch.gone.push((token, code)));
    }

    pub fn writable(&self, token: u64) {
        self.add(|batch| batch.writable.push(token));
    }
}
