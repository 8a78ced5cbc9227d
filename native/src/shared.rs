//! What the threads and tasks of a door share.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use h2::server::SendResponse;
use http::HeaderName;
use tokio::sync::Notify;

use crate::account::Chunk;
use crate::budget::Budget;
use crate::counters::Counters;
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::lock;
use crate::outbox::Outbox;
use crate::refusal::{Refusal, Refusals};
use crate::status::Status;
use crate::table::{Call, Table};
use crate::tls::Tls;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Unary,
    /// One request, a stream of responses.
    Subscription,
    /// Streams both ways.
    Dialogue,
}

pub struct Shared {
    pub paths: HashMap<String, usize>,
    pub routes: Vec<Kind>,
    pub metadata: Vec<HeaderName>,
    pub limits: Limits,
    pub refusals: Refusals,
    pub inbox: Arc<Inbox>,
    pub outbox: Outbox,
    pub table: Mutex<Table>,
    /// Bytes of requests that Python has not taken yet.
    pub received: Arc<Budget>,
    /// Bytes that clients have not taken yet.
    pub undelivered: Arc<Budget>,
    /// None: plain text.
    pub tls: Option<Tls>,
    pub counters: Counters,
    /// Rung when the first unary call stands.
    pub sweep: Notify,
}

impl Shared {
    /// Whether as many calls stand as may.
    pub fn is_full(&self) -> bool {
        lock(&self.table).len() >= self.limits.max_calls
    }

    pub fn insert(&self, make: impl FnOnce(u64) -> Call) -> u64 {
        let mut table = lock(&self.table);
        let before = table.unary();
        let token = table.insert(make);
        if before == 0 && table.unary() == 1 {
            self.sweep.notify_one();
        }
        token
    }

    pub fn forget(&self, token: u64) {
        // outside the lock: what it holds on to may take other locks when it goes
        let call = lock(&self.table).remove(token);
        drop(call);
    }

    pub fn refuse(&self, respond: SendResponse<Chunk>, refusal: Refusal) {
        refuse(respond, &self.refusals.status(refusal));
    }
}

/// Ends a call that has got nothing yet. An error means that the client has gone.
pub fn refuse(mut respond: SendResponse<Chunk>, status: &Status) {
    let _ = respond.send_response(status.response(), true);
}
