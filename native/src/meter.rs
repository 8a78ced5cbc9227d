//! What goes over a connection, counted, and how its client behaves.
//!
//! h2 bounds what a client can make it keep; it does not mind frames that cost work and bring nothing, such
//! as calls that are reset at once (CVE-2023-44487) or pings without end. Each of them costs a token here.
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::seconds;
use crate::shared::Shared;

/// Frames that bring nothing: this many at once, and this many a second. A client that cancels all its
/// subscriptions, or calls with deadlines that are too short, stays far below.
const BURST: f64 = 10_000.0;
const PER_SECOND: f64 = 500.0;
/// Pings that come too soon, until the connection ends. The same as gRPC's own servers.
const STRIKES: u32 = 2;
/// Bytes written between two pings that are no more than the answer to a ping (17) and window updates (13 each). The
/// smallest message is more: clients of gRPC's C core ping when one arrives, to learn how fast the connection is.
const IDLE_BYTES: u64 = 17 + 2 * 13;

const PREFACE: usize = 24;
const HEAD: usize = 9;

/// What the connection's task is to know of the meter that h2 owns.
#[derive(Default)]
pub struct Conduct {
    abusive: AtomicBool,
}

impl Conduct {
    pub fn is_abusive(&self) -> bool {
        self.abusive.load(Ordering::Relaxed)
    }
}

pub struct Meter<T> {
    io: T,
    shared: Arc<Shared>,
    conduct: Arc<Conduct>,
    frames: Frames,
    judge: Judge,
}

impl<T> Meter<T> {
    pub fn new(io: T, conduct: Arc<Conduct>, shared: Arc<Shared>) -> Self {
        let judge = Judge::new(seconds(shared.limits.keepalive_min_interval));
        Meter { io, shared, conduct, frames: Frames::new(), judge }
    }

    fn sent(&mut self, bytes: usize) {
        self.judge.written += bytes as u64;
        self.shared.counters.sent_bytes.add(bytes as u64);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Meter<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        this.shared.counters.received_bytes.add(read.len() as u64);
        let judge = &mut this.judge;
        let mut bearable = true;
        this.frames.scan(read, |head| bearable &= judge.bears(head));
        if !bearable {
            this.conduct.abusive.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Meter<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, buffers))?;
        this.sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Finds the heads of frames in what is read (RFC 9113 §4.1).
struct Frames {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; HEAD],
    filled: usize,
}

impl Frames {
    fn new() -> Self {
        Frames { skip: PREFACE, head: [0; HEAD], filled: 0 }
    }

    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(&[u8; HEAD])) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                self.filled = 0;
                self.skip = length(&self.head);
                found(&self.head);
            }
        }
    }
}

fn length(head: &[u8; HEAD]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

struct Judge {
    tokens: f64,
    refilled: Instant,
    min_interval: Option<Duration>,
    pinged: Option<Instant>,
    strikes: u32,
    written: u64,
    written_at_ping: u64,
}

impl Judge {
    fn new(min_interval: Option<Duration>) -> Self {
        let now = Instant::now();
        Judge { tokens: BURST, refilled: now, min_interval, pinged: None, strikes: 0, written: 0, written_at_ping: 0 }
    }

    fn bears(&mut self, head: &[u8; HEAD]) -> bool {
        const ACK: u8 = 1;
        match (head[3], head[4]) {
            (0x6, flags) if flags & ACK == 0 => self.may_ping() && self.spend(),
            // DATA without data or end, PRIORITY, RST_STREAM, SETTINGS, and what nobody knows
            (0x0, flags) if flags & 1 == 0 && length(head) == 0 => self.spend(),
            (0x2 | 0x3 | 0x4 | 0xa.., _) => self.spend(),
            _ => true,
        }
    }

    fn spend(&mut self) -> bool {
        if self.tokens < 1.0 {
            let now = Instant::now();
            let elapsed = now.duration_since(self.refilled).as_secs_f64();
            self.tokens = (self.tokens + elapsed * PER_SECOND).min(BURST);
            self.refilled = now;
        }
        self.tokens -= 1.0;
        self.tokens >= 0.0
    }

    fn may_ping(&mut self) -> bool {
        let Some(min_interval) = self.min_interval else { return true };
        let now = Instant::now();
        let soon = self.pinged.is_some_and(|pinged| now.duration_since(pinged) < min_interval);
        let idle = self.written - self.written_at_ping <= IDLE_BYTES;
        self.strikes = if soon && idle { self.strikes + 1 } else { 0 };
        self.pinged = Some(now);
        self.written_at_ping = self.written;
        self.strikes <= STRIKES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + length as usize, 0xff);
        frame
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [vec![0; PREFACE], frame(4, 0, 6), frame(0, 1, 0), frame(3, 0, 4)].concat();
        for size in 1..=bytes.len() {
            let (mut frames, mut found) = (Frames::new(), Vec::new());
            bytes.chunks(size).for_each(|chunk| frames.scan(chunk, |head| found.push((head[3], length(head)))));
            assert_eq!(found, [(4, 6), (0, 0), (3, 4)], "in chunks of {size}");
        }
    }

    fn head(kind: u8, flags: u8) -> [u8; HEAD] {
        [0, 0, 0, kind, flags, 0, 0, 0, 1]
    }

    #[test]
    fn resets_are_borne_up_to_the_burst() {
        let mut judge = Judge::new(None);
        let borne = (0..30_000).take_while(|_| judge.bears(&head(3, 0))).count();
        assert!((10_000..20_000).contains(&borne), "{borne}");
    }

    #[test]
    fn pings_that_come_too_soon_are_borne_twice() {
        let mut judge = Judge::new(Some(Duration::from_secs(60)));
        let borne = (0..10).take_while(|_| judge.bears(&head(6, 0))).count();
        assert_eq!(borne, 3);
    }

    #[test]
    fn pings_between_answers_and_answers_to_ours_are_borne() {
        let mut judge = Judge::new(Some(Duration::from_secs(60)));
        for _ in 0..100 {
            assert!(judge.bears(&head(6, 0)));
            judge.written += 17 + 30;
        }
        assert!((0..100).all(|_| judge.bears(&head(6, 1))));
    }
}
