//! A number of bytes that many share.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::lock;

/// Bytes that one may take of an exhausted budget.
const LITTLE: usize = 16 << 10;

pub struct Budget {
    used: AtomicUsize,
    limit: usize,
    /// Who found it exhausted and waits for it to be less so.
    waiting: Mutex<Vec<Waker>>,
    waiters: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { used: AtomicUsize::new(0), limit, waiting: Mutex::default(), waiters: AtomicUsize::new(0) })
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether so many times the limit is taken.
    pub fn exceeded(&self, times: usize) -> bool {
        self.used() >= self.limit.saturating_mul(times)
    }

    fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiters.load(Ordering::Acquire) > 0 && !self.exceeded(1) {
            let waiting = std::mem::take(&mut *lock(&self.waiting));
            self.waiters.store(0, Ordering::Release);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Wakes this task once there is room. The caller looks again after this: room may have come meanwhile.
    pub fn wait(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        // a task may be polled often while it waits
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        self.waiters.store(waiting.len(), Ordering::Release);
    }
}

/// Bytes taken from a budget; given back when it is dropped.
pub struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Charge { budget: budget.clone(), bytes: 0 }
    }

    /// False: the budget is exhausted, and nothing was taken. Who asks for little gets it all the same, up to
    /// twice the budget: those who take all they can do not keep out everybody else.
    #[must_use]
    pub fn add(&mut self, bytes: usize) -> bool {
        if !self.may_be(self.bytes + bytes) {
            return false;
        }
        self.budget.take(bytes);
        self.bytes += bytes;
        true
    }

    /// Whether `add` would take more now.
    pub fn may_grow(&self) -> bool {
        self.may_be(self.bytes + 1)
    }

    fn may_be(&self, bytes: usize) -> bool {
        !self.budget.exceeded(if bytes <= LITTLE { 2 } else { 1 })
    }

    /// Takes them whether there is room or not.
    pub fn force(budget: &Arc<Budget>, bytes: usize) -> Self {
        budget.take(bytes);
        Charge { budget: budget.clone(), bytes }
    }

    /// Gives back what is above this.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        if surplus > 0 {
            self.budget.give(surplus);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_gives_back_what_it_took() {
        let budget = Budget::new(10);
        let mut charge = Charge::new(&budget);
        assert!(charge.add(8));
        assert!(charge.add(8), "the last one may go beyond the limit");
        charge.shrink(10);
        assert_eq!(budget.used(), 10);
        charge.shrink(20);
        let forced = Charge::force(&budget, 100);
        assert_eq!(budget.used(), 110);
        drop((charge, forced));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn who_takes_all_leaves_a_little_to_others() {
        let budget = Budget::new(10 * LITTLE);
        let mut greedy = Charge::new(&budget);
        while greedy.add(LITTLE) {}
        assert_eq!(budget.used(), 10 * LITTLE);
        let modest: Vec<Charge> = (0..100)
            .map_while(|_| {
                let mut charge = Charge::new(&budget);
                charge.add(LITTLE).then_some(charge)
            })
            .collect();
        assert_eq!(modest.len(), 10, "but not without end");
        drop((greedy, modest));
        assert_eq!(budget.used(), 0);
    }
}
