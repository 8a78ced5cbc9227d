//! What is counted while a load runs, and the report of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Fault;

/// What one load saw in its measured time.
#[derive(Default)]
pub struct Report {
    /// Messages, calls or subscriptions.
    pub count: u64,
    pub time: Duration,
    /// Microseconds, one for each sample.
    pub latencies: Vec<u32>,
    /// Empty when every answer was right.
    pub problems: Vec<String>,
    pub note: String,
}

impl Report {
    pub fn to_json(&self) -> serde_json::Value {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let quantile = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            f64::from(sorted.get(index).copied().unwrap_or(0)) / 1000.0
        };
        json!({
            "count": self.count,
            "rate": self.count as f64 / self.time.as_secs_f64(),
            "p50_ms": quantile(0.50),
            "p99_ms": quantile(0.99),
            "problems": self.problems,
            "note": self.note,
        })
    }
}

/// What was there before the load itself is there now.
pub fn preloaded() {
    say("preloaded");
}

/// The measured time starts.
pub fn begin() -> Instant {
    say("begin");
    Instant::now()
}

/// The measured time is over; waits until who started this has read its clocks, and returns the time.
pub fn end(began: Instant) -> Result<Duration, Fault> {
    let time = began.elapsed();
    say("end");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(time)
}

fn say(line: &str) {
    println!("{line}");
    // Who started this may have gone away: then the report cannot be told either.
    let _ = std::io::stdout().flush();
}

pub fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// Counts answers of calls that many tasks make, and tells these when to go on.
pub struct Tally {
    /// Whether another call should start.
    running: Cell<bool>,
    /// How many calls may still start.
    left: Cell<u64>,
    measuring: Cell<bool>,
    pub acknowledged: Cell<u64>,
    pub measured: Cell<u64>,
    pub last_id: Cell<u64>,
    faults: RefCell<BTreeMap<String, u64>>,
    latencies: RefCell<Vec<u32>>,
}

impl Tally {
    /// For at most so many calls.
    pub fn of(calls: u64) -> Self {
        Self {
            running: Cell::new(true),
            left: Cell::new(calls),
            measuring: Cell::new(false),
            acknowledged: Cell::new(0),
            measured: Cell::new(0),
            last_id: Cell::new(0),
            faults: RefCell::default(),
            latencies: RefCell::default(),
        }
    }

    pub fn endless() -> Self {
        Self::of(u64::MAX)
    }

    /// Whether another call should start; it is taken from those left.
    pub fn next(&self) -> bool {
        let more = self.running.get() && self.left.get() > 0;
        if more {
            self.left.set(self.left.get() - 1);
        }
        more
    }

    pub fn measure(&self) {
        self.measuring.set(true);
    }

    /// No further call starts, and what is answered from now on is not measured.
    pub fn stop(&self) {
        self.measuring.set(false);
        self.running.set(false);
    }

    /// So many messages were acknowledged by an answer.
    pub fn acknowledge(&self, messages: u64, last_id: u64, since: Instant) {
        self.acknowledged.set(self.acknowledged.get() + messages);
        self.last_id.set(self.last_id.get().max(last_id));
        if self.measuring.get() {
            self.measured.set(self.measured.get() + messages);
            self.latencies.borrow_mut().push(micros(since));
        }
    }

    pub fn fault(&self, fault: impl ToString) {
        *self.faults.borrow_mut().entry(fault.to_string()).or_default() += 1;
    }

    /// Adds what was seen to a report. `dense`: on a subject that was empty, the last id is the number of messages.
    pub fn report(&self, report: &mut Report, dense: bool) {
        report.count += self.measured.get();
        report.latencies.append(&mut self.latencies.borrow_mut());
        report.problems.extend(self.faults.borrow().iter().map(|(fault, times)| format!("{times} × {fault}")));
        let (acknowledged, last) = (self.acknowledged.get(), self.last_id.get());
        if dense && acknowledged != last {
            report.problems.push(format!("{acknowledged} messages acknowledged, the last id is {last}"));
        }
    }
}
