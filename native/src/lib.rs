//! A gRPC server for Python that decides nothing: it moves bytes between HTTP/2 streams and Python,
//! in batches. Python is woken through one descriptor, takes everything that has queued in one call
//! and answers in one call. See `door.rs` for what Python sees.
//!
//! Who runs where: `door` on Python's thread; everything else on the runtime's. The two meet in
//! `inbox` (towards Python), `outbox` (towards the network) and `table` (the calls that stand).

mod account;
mod bell;
mod budget;
mod call;
mod connection;
mod counters;
mod door;
mod frame;
mod head;
mod inbox;
mod limits;
mod meter;
mod outbox;
mod refusal;
mod server;
mod shared;
mod sink;
mod status;
mod table;
mod tls;
mod upload;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// A panic ends the process (`panic = "abort"`), so a poisoned lock cannot be met.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymodule]
fn brokercluster_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PANIC", if cfg!(panic = "abort") { "abort" } else { "unwind" })?;
    module.add("REFUSALS", refusal::Refusal::NAMES)?;
    module.add_class::<door::Door>()
}
