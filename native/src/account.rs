//! What has been queued for one stream and has not left yet.
//!
//! A stream is bounded by the frames and bytes queued for it, all streams by the memory that they take, in
//! which bytes that go to many count once.
//!
//! Python's thread asks `admit` and hears at once whether the stream takes the bytes. A permit travels with
//! them, through the sink and through h2, and settles the account when the last of them has been written.
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use bytes::{Buf, Bytes};

use crate::budget::{Budget, Charge};
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::lock;

/// Bytes that a stream without anything queued may always take: more than what a catching up subscriber gets first.
const SMALL: usize = 32 << 10;

pub struct Account {
    token: u64,
    bounded: bool,
    max_frames: usize,
    max_bytes: usize,
    max_unanswered: usize,
    inbox: Arc<Inbox>,
    undelivered: Arc<Budget>,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    frames: usize,
    bytes: usize,
    /// Set when it was refused frames: at which frames and bytes it is writable again.
    resume_at: Option<(usize, usize)>,
    closed: bool,
    /// Messages of the client whose answers it has not taken yet.
    unanswered: usize,
    task: Option<Waker>,
}

impl Account {
    /// A dialogue is not `bounded` here: what it may have unanswered bounds it.
    pub fn new(token: u64, bounded: bool, limits: &Limits, inbox: &Arc<Inbox>, undelivered: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Account {
            token,
            bounded,
            max_frames: limits.max_stream_frames,
            max_bytes: limits.max_stream_queue,
            max_unanswered: limits.max_unanswered,
            inbox: inbox.clone(),
            undelivered: undelivered.clone(),
            standing: Mutex::default(),
        })
    }

    /// None: it is full. A refusal holds until half of what is queued has left, so that a slow client misses
    /// the end of a series, not parts of it.
    ///
    /// When all streams together have too much, who has nothing queued may go on all the same, so that those who
    /// read are not held up by those who do not: up to twice the budget, and in small pieces even then.
    pub fn admit(self: &Arc<Self>, frames: usize, bytes: usize, shared: &Arc<Charge>) -> Option<Permit> {
        let mut standing = lock(&self.standing);
        if self.bounded && self.is_full(&mut standing, bytes) {
            let empty = standing.frames == 0;
            drop(standing);
            if empty {
                self.wait_for_budget();
            }
            return None;
        }
        standing.frames += frames;
        standing.bytes += bytes;
        drop(standing);
        Some(Permit { account: self.clone(), frames, bytes, _shared: shared.clone() })
    }

    fn is_full(&self, standing: &mut Standing, bytes: usize) -> bool {
        if standing.resume_at.is_some() {
            return true;
        }
        let full = standing.frames >= self.max_frames
            || standing.bytes >= self.max_bytes
            || (standing.frames > 0 && self.undelivered.exceeded(1))
            || (bytes > SMALL && self.undelivered.exceeded(2));
        if full {
            standing.resume_at = Some((standing.frames / 2, standing.bytes / 2));
        }
        full
    }

    /// Nothing of its own will leave and make it writable.
    fn wait_for_budget(self: &Arc<Self>) {
        let waker = Waker::from(self.clone());
        self.undelivered.wait(&waker);
        if !self.undelivered.exceeded(1) {
            waker.wake();
        }
    }

    fn settle(&self, frames: usize, bytes: usize) {
        let mut standing = lock(&self.standing);
        standing.frames -= frames;
        standing.bytes -= bytes;
        standing.unanswered = standing.unanswered.saturating_sub(frames);
        let task = if self.bounded { None } else { standing.task.clone() };
        let queued = (standing.frames, standing.bytes);
        let writable = standing.resume_at.is_some_and(|at| queued.0 <= at.0 && queued.1 <= at.1) && !standing.closed;
        if writable {
            standing.resume_at = None;
        }
        drop(standing);
        if writable {
            self.inbox.writable(self.token);
        }
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Nothing is said about it any more.
    pub fn close(&self) {
        lock(&self.standing).closed = true;
    }

    /// The task to wake when the client may send more, or when Python has done something.
    pub fn watch(&self, waker: &Waker) {
        let mut standing = lock(&self.standing);
        if !standing.task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            standing.task = Some(waker.clone());
        }
    }

    pub fn wake_task(&self) {
        let task = lock(&self.standing).task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the client may be heard: too many of its messages are unanswered otherwise.
    pub fn may_hear(&self) -> bool {
        lock(&self.standing).unanswered < self.max_unanswered
    }

    pub fn heard(&self) {
        lock(&self.standing).unanswered += 1;
    }
}

/// The budget of all streams has room again.
impl Wake for Account {
    fn wake(self: Arc<Self>) {
        let mut standing = lock(&self.standing);
        let writable = standing.frames == 0 && !standing.closed && standing.resume_at.take().is_some();
        drop(standing);
        if writable {
            self.inbox.writable(self.token);
        }
    }
}

pub struct Permit {
    account: Arc<Account>,
    frames: usize,
    bytes: usize,
    /// Of the bytes that several streams may share.
    _shared: Arc<Charge>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.account.settle(self.frames, self.bytes);
    }
}

/// What keeps account of a chunk for as long as it exists.
pub enum Hold {
    Nothing,
    Permit(#[allow(dead_code)] Permit),
    Charge(#[allow(dead_code)] Charge),
}

/// Bytes on their way out, through h2, which drops them once they are written.
pub struct Chunk {
    bytes: Bytes,
    _hold: Hold,
}

impl Chunk {
    pub fn new(bytes: Bytes, hold: Hold) -> Self {
        Chunk { bytes, _hold: hold }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
