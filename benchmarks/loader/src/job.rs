//! What is asked for: `benchmarks/load/job.py` says what each field means.

use std::time::Duration;

use serde::Deserialize;

#[derive(Deserialize)]
pub struct Job {
    pub kind: String,
    pub target: String,
    pub other: String,
    seconds: f64,
    warm_up: f64,
    pub body: usize,
    pub connections: usize,
    pub in_flight: usize,
    pub subjects: usize,
    pub frame: usize,
    pub streams: usize,
    pub messages: usize,
    pub rate: usize,
    pub batched: bool,
}

impl Job {
    pub fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// How many ticks of `rate` come in this time.
    pub fn ticks(&self, time: Duration) -> usize {
        (self.rate as f64 / self.frame as f64 * time.as_secs_f64()) as usize
    }

    pub fn subscribe(&self) -> &'static str {
        if self.batched {
            "SubscribeBatch"
        } else {
            "Subscribe"
        }
    }
}
