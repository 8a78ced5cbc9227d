//! What the door counts by itself. Only one thread writes most of them, but any may read.
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns what it was before.
    pub fn add(&self, amount: u64) -> u64 {
        self.0.fetch_add(amount, Ordering::Relaxed)
    }

    /// Returns what it was before.
    pub fn less(&self) -> u64 {
        self.0.fetch_sub(1, Ordering::Relaxed)
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        impl Counters {
            pub fn values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)*].into_iter()
            }
        }
    };
}

// Numbers since the start, but the first two.
counters! {
    connections,
    /// Calls whose requests are still arriving.
    uploads,
    connections_accepted,
    connections_refused,
    /// Ended before they spoke HTTP/2 (or TLS).
    handshakes_failed,
    /// Ended because nobody answered our pings.
    connections_dead,
    /// Ended because of what the client did with them.
    connections_abusive,
    connections_aged,
    calls_cancelled,
    streams_full,
    received_bytes,
    sent_bytes,
}
