//! Ticks at a rate of more than the runtime's one a millisecond.

use std::io::ErrorKind::WouldBlock;
use std::time::{Duration, Instant};

use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
};
use tokio::net::unix::pipe::Receiver;

use crate::Fault;

/// Ticks by the kernel's clock, whether anyone has waited for them or not.
pub struct Ticker {
    /// A timer's descriptor reads like a pipe that gets eight bytes, the number of ticks.
    timer: Receiver,
    period: Duration,
    next: Instant,
}

impl Ticker {
    /// The first tick comes one period from now.
    pub fn start(rate: f64) -> Result<Self, Fault> {
        let period = Duration::from_secs_f64(1.0 / rate);
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        let spec = Timespec { tv_sec: period.as_secs() as i64, tv_nsec: i64::from(period.subsec_nanos()) };
        let next = Instant::now() + period;
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: spec, it_value: spec })?;
        Ok(Self { timer: Receiver::from_owned_fd_unchecked(timer)?, period, next })
    }

    /// Waits until at least one tick is due, and returns when each of those due should have been.
    pub async fn due(&mut self) -> Result<impl Iterator<Item = Instant>, Fault> {
        let mut count = [0; 8];
        loop {
            self.timer.readable().await?;
            match self.timer.try_read(&mut count) {
                Ok(_) => break,
                Err(error) if error.kind() == WouldBlock => (),
                Err(error) => return Err(error.into()),
            }
        }
        let (first, period, ticks) = (self.next, self.period, u64::from_ne_bytes(count) as u32);
        self.next += period * ticks;
        Ok((0..ticks).map(move |tick| first + period * tick))
    }
}
