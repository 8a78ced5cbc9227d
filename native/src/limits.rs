//! The bounds of a door, as Python gives them.
use std::time::Duration;

use pyo3::prelude::*;

/// The attributes of Python's `DoorLimits`. Sizes in bytes, times in seconds (0: never).
#[derive(FromPyObject)]
pub struct Limits {
    pub max_request: usize,
    pub max_received: usize,
    pub max_queued_calls: usize,
    pub max_calls: usize,
    pub max_stream_queue: usize,
    pub max_stream_frames: usize,
    pub max_unanswered: usize,
    pub max_queued: usize,
    pub max_connections: usize,
    pub max_streams: u32,
    pub request_timeout: f64,
    pub keepalive_time: f64,
    pub keepalive_timeout: f64,
    pub keepalive_min_interval: f64,
    pub max_connection_age: f64,
    pub max_connection_age_grace: f64,
}

/// None for 0, which stands for never.
pub fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero())
}
