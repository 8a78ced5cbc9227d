//! Why the door itself refuses a call. What the client is told, Python has said beforehand.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::status::Status;

macro_rules! refusals {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Refusal { $($(#[$doc])* $kind,)* }

        impl Refusal {
            /// By which Python knows them, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}

refusals! {
    UnknownMethod "unknown_method",
    UnknownEncoding "unknown_encoding",
    /// `grpc-timeout` cannot be read.
    BadTimeout "bad_timeout",
    /// None, or more than one, where one request message is wanted.
    NotOneMessage "not_one_message",
    /// The stream ended within a message.
    CutOff "cut_off",
    /// The message is not what its encoding says.
    BadCompression "bad_compression",
    TooLarge "too_large",
    /// The request did not arrive in time.
    TooSlow "too_slow",
    /// Python has more calls to look at than may wait.
    TooManyCalls "too_many_calls",
    /// Requests that wait for Python take more bytes than they may.
    TooManyRequestBytes "too_many_request_bytes",
    /// Answers that wait for their clients take more bytes than they may.
    TooManyAnswerBytes "too_many_answer_bytes",
    Expired "deadline_exceeded",
}

/// What each refusal says, and how often it was said.
pub struct Refusals {
    statuses: Vec<Status>,
    counts: Vec<AtomicU64>,
}

impl Refusals {
    /// One status for each name.
    pub fn new(statuses: Vec<Status>) -> Self {
        let counts = statuses.iter().map(|_| AtomicU64::new(0)).collect();
        Refusals { statuses, counts }
    }

    /// Counts it, and returns what to say.
    pub fn status(&self, refusal: Refusal) -> Status {
        self.counts[refusal as usize].fetch_add(1, Ordering::Relaxed);
        self.statuses[refusal as usize].clone()
    }

    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Refusal::NAMES.iter().copied().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
