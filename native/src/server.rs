//! The runtime's thread: listener, connections, and Python's commands.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::HeaderName;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::connection;
use crate::inbox::Inbox;
use crate::lock;
use crate::outbox::{Command, Outbox};
use crate::status::{opening, Code, Status};
use crate::table::{Call, Table};

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Unary,
    /// One request, a stream of responses.
    Subscription,
    /// Streams both ways.
    Dialogue,
}

pub struct Route {
    pub kind: Kind,
}

pub struct Limits {
    pub message: usize,
    pub streams: u32,
    pub queue_frames: usize,
    pub queue_bytes: usize,
    pub max_unanswered: usize,
}

pub struct Shared {
    pub paths: HashMap<String, usize>,
    pub routes: Vec<Route>,
    pub metadata: Vec<HeaderName>,
    pub limits: Limits,
    pub inbox: Inbox,
    pub outbox: Outbox,
    pub table: Mutex<Table>,
    pub connections: AtomicUsize,
}

impl Shared {
    pub fn forget(&self, token: u64) {
        lock(&self.table).remove(token);
    }
}

pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let (drain, draining) = watch::channel(false);
    tokio::spawn(accept(listener, draining, shared.clone()));
    obey(&shared, drain).await;
}

async fn accept(listener: TcpListener, mut draining: watch::Receiver<bool>, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.changed() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let _ = socket.set_nodelay(true);
                let (shared, draining) = (shared.clone(), draining.clone());
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    connection::serve(socket, draining, &shared).await;
                    shared.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
            // out of file descriptors, mostly: wait until some are closed
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Until `Stop`.
async fn obey(shared: &Shared, drain: watch::Sender<bool>) {
    loop {
        for command in shared.outbox.next().await {
            match command {
                Command::Answer(answers) => answer(answers, shared),
                Command::Open(tokens) => {
                    for token in tokens {
                        if let Some(Call::Stream(sink)) = lock(&shared.table).get(token) {
                            sink.open();
                        }
                    }
                }
                Command::Send(sinks, data, frames) => {
                    for sink in sinks {
                        sink.send(data.clone(), frames, shared);
                    }
                }
                Command::Finish(endings) => {
                    for (token, status) in endings {
                        finish(token, status, shared);
                    }
                }
                Command::Drain => drop(drain.send(true)),
                Command::Stop => return,
            }
        }
    }
}

fn answer(answers: Vec<(u64, Bytes)>, shared: &Shared) {
    let calls: Vec<_> = {
        let mut table = lock(&shared.table);
        answers.into_iter().map(|(token, message)| (table.remove(token), message)).collect()
    };
    let trailers = Status::new(Code::Ok, "").trailers();
    for (call, message) in calls {
        if let Some(Call::Unary(mut respond)) = call {
            // an error here means that the client has gone
            if let Ok(mut stream) = respond.send_response(opening(), false) {
                if stream.send_data(message, false).is_ok() {
                    let _ = stream.send_trailers(trailers.clone());
                }
            }
        }
    }
}

fn finish(token: u64, status: Status, shared: &Shared) {
    let mut table = lock(&shared.table);
    match table.get(token) {
        Some(Call::Stream(sink)) => {
            let sink = sink.clone();
            drop(table);
            sink.finish(status, shared);
        }
        Some(Call::Unary(_)) => {
            let call = table.remove(token);
            drop(table);
            if let Some(Call::Unary(respond)) = call {
                refuse(respond, &status);
            }
        }
        None => {}
    }
}

pub fn refuse(mut respond: SendResponse<Bytes>, status: &Status) {
    let _ = respond.send_response(status.response(), true);
}
