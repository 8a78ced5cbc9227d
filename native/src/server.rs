//! The runtime's thread: listener, connections, and Python's commands.
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::account::Chunk;
use crate::connection::{self, shake_hands};
use crate::lock;
use crate::outbox::Command;
use crate::refusal::Refusal;
use crate::shared::{refuse, Shared};
use crate::status::{opening, Status};
use crate::table::{Call, Lost};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// How late an expired or abandoned unary call may be noticed.
const SWEEP: Duration = Duration::from_millis(20);
/// Calls looked at in one sweep, which keeps the table from Python meanwhile.
const SWEPT: usize = 4096;
/// Between attempts to accept when that fails: out of file descriptors, mostly.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// HOST:PORT; the first address of a name.
pub fn listen_on(listen: &str) -> std::io::Result<TcpListener> {
    let address = listen.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // so that a restart can listen while connections of before still time out
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `Stop`.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let (drain, draining) = watch::channel(false);
    // Tasks of their own, since an accept that ends at the drain must not end the others.
    tokio::spawn(accept(listener, draining, shared.clone()));
    tokio::spawn(sweep(shared.clone()));
    obey(&shared, drain).await;
}

async fn accept(listener: TcpListener, mut draining: watch::Receiver<bool>, shared: Arc<Shared>) {
    let counters = &shared.counters;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.changed() => return,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        if counters.connections.get() >= shared.limits.max_connections as u64 {
            counters.connections_refused.add(1);
            continue;
        }
        let _ = socket.set_nodelay(true);
        let number = counters.connections_accepted.add(1);
        counters.connections.add(1);
        let (shared, draining) = (shared.clone(), draining.clone());
        tokio::spawn(async move {
            greet(socket, number, draining, &shared).await;
            if shared.counters.connections.less() == 1 {
                // who drains waits for this
                shared.inbox.nudge();
            }
        });
    }
}

/// Serves a connection, once it speaks TLS where it has to.
async fn greet(socket: TcpStream, number: u64, mut draining: watch::Receiver<bool>, shared: &Arc<Shared>) {
    let Some(tls) = &shared.tls else { return connection::serve(socket, number, draining, shared).await };
    if let Some(stream) = shake_hands(tls.accept(socket), &mut draining, shared).await {
        connection::serve(stream, number, draining, shared).await;
    }
}

async fn obey(shared: &Shared, drain: watch::Sender<bool>) {
    loop {
        for command in shared.outbox.next().await {
            match command {
                Command::Answer(answers) => answer(answers, shared),
                Command::Open(tokens) => tokens.into_iter().for_each(|token| open(token, shared)),
                Command::Send(sinks, data) => {
                    for (sink, permit) in sinks {
                        sink.send(data.clone(), permit);
                    }
                }
                Command::Finish(endings) => {
                    endings.into_iter().for_each(|(token, status)| finish(token, status, shared))
                }
                Command::Drain => drop(drain.send(true)),
                Command::Stop => return,
            }
        }
    }
}

fn open(token: u64, shared: &Shared) {
    let sink = match lock(&shared.table).get(token) {
        Some(Call::Stream(sink)) => sink.clone(),
        _ => return,
    };
    sink.open();
}

fn answer(answers: Vec<(u64, Chunk)>, shared: &Shared) {
    let calls: Vec<_> = {
        let mut table = lock(&shared.table);
        answers.into_iter().map(|(token, message)| (table.remove(token), message)).collect()
    };
    let trailers = Status::ok().trailers();
    for (call, message) in calls {
        if let Some(Call::Unary(mut unary)) = call {
            // an error here means that the client has gone
            if let Ok(mut stream) = unary.respond.send_response(opening(), false) {
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
            sink.finish(status);
        }
        Some(Call::Unary(_)) => {
            let call = table.remove(token);
            drop(table);
            if let Some(Call::Unary(unary)) = call {
                refuse(unary.respond, &status);
            }
        }
        None => {}
    }
}

/// Ends unary calls whose time is over and forgets those whose clients have gone, while there are any.
async fn sweep(shared: Arc<Shared>) {
    loop {
        shared.sweep.notified().await;
        loop {
            tokio::time::sleep(SWEEP).await;
            let (lost, left) = {
                let mut table = lock(&shared.table);
                (table.sweep(SWEPT), table.unary())
            };
            for call in lost {
                match call {
                    Lost::Expired(token, unary) => {
                        shared.refuse(unary.respond, Refusal::Expired);
                        shared.inbox.gone(token);
                    }
                    Lost::Reset(token) => {
                        shared.counters.calls_cancelled.add(1);
                        shared.inbox.gone(token);
                    }
                }
            }
            if left == 0 {
                break;
            }
        }
    }
}
