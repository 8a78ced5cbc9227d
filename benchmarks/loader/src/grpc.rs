//! Calls over HTTP/2, with nothing of gRPC but what a load needs.

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::{spawn_local, JoinHandle};

use crate::{wire, Fault};

/// Bytes; a server never waits for a reader that reads.
pub const WIDE: u32 = 1 << 30;
const PREFIX: usize = 5;

/// One HTTP/2 connection. It ends when it is dropped.
pub struct Connection {
    sender: SendRequest<Bytes>,
    target: String,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects, granting the server a window of so many bytes for each stream, and at least as many for all.
    pub async fn open(target: &str, window: u32) -> Result<Self, Fault> {
        let socket = TcpStream::connect(target).await.map_err(|error| format!("{target}: {error}"))?;
        socket.set_nodelay(true)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(window.max(1 << 16))
            .handshake(socket)
            .await?;
        let driver = spawn_local(async move { drop(connection.await) });
        Ok(Self { sender, target: target.into(), driver })
    }

    pub async fn open_many(target: &str, window: u32, count: usize) -> Result<Vec<Self>, Fault> {
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Self::open(target, window).await?);
        }
        Ok(connections)
    }

    pub fn method(&self, name: &str) -> Result<Method, Fault> {
        let head = Request::post(format!("http://{}/broker.Broker/{name}", self.target))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        Ok(Method { sender: self.sender.clone(), head })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A method of a server, to be called as often as wanted over one connection.
#[derive(Clone)]
pub struct Method {
    sender: SendRequest<Bytes>,
    head: Request<()>,
}

impl Method {
    /// Calls with one message (prefix included), and returns the answer when the status is OK.
    pub async fn unary(&self, message: Bytes) -> Result<Bytes, Fault> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut out) = sender.send_request(self.head.clone(), false)?;
        out.send_data(message, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer = if answer.is_empty() { chunk } else { [answer, chunk].concat().into() };
        }
        check_status(&body.trailers().await?.unwrap_or(head.headers))?;
        if answer.len() < PREFIX {
            return Err("a call ended with OK and without an answer".into());
        }
        answer.advance(PREFIX);
        Ok(answer)
    }

    /// Starts a call whose sending side stays open.
    pub async fn dialogue(&self) -> Result<(SendStream<Bytes>, Messages), Fault> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, out) = sender.send_request(self.head.clone(), false)?;
        Ok((out, Messages { state: State::Asked(response), partial: BytesMut::new() }))
    }

    /// Starts a call with one message, and returns when the server has sent its head.
    pub async fn subscription(&self, request: &[u8]) -> Result<Messages, Fault> {
        let (mut out, mut messages) = self.dialogue().await?;
        out.send_data(wire::framed(request), true)?;
        messages.opened().await?;
        Ok(messages)
    }
}

/// What a server sends in one call. The call is cancelled when it is dropped.
pub struct Messages {
    state: State,
    partial: BytesMut,
}

enum State {
    Asked(h2::client::ResponseFuture),
    Open(RecvStream),
}

impl Messages {
    async fn opened(&mut self) -> Result<&mut RecvStream, Fault> {
        if let State::Asked(response) = &mut self.state {
            let (head, body) = response.await?.into_parts();
            if head.headers.contains_key("grpc-status") {
                check_status(&head.headers)?;
            }
            self.state = State::Open(body);
        }
        match &mut self.state {
            State::Open(body) => Ok(body),
            State::Asked(_) => Err("a call was asked and is not open".into()),
        }
    }

    /// Waits for bytes, and hands over each message that they complete. False: the call has ended with OK.
    pub async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool, Fault> {
        let body = self.opened().await?;
        let Some(chunk) = body.data().await else {
            let trailers = body.trailers().await?;
            check_status(&trailers.unwrap_or_default())?;
            return Ok(false);
        };
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        if self.partial.is_empty() {
            let rest = split(&chunk, &mut each);
            self.partial.extend_from_slice(rest);
        } else {
            self.partial.extend_from_slice(&chunk);
            let left = split(&self.partial, &mut each).len();
            self.partial.advance(self.partial.len() - left);
        }
        Ok(true)
    }
}

/// Hands over each complete message, and returns the rest.
fn split<'a>(mut bytes: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
    while let Some((prefix, after)) = bytes.split_first_chunk::<PREFIX>() {
        let [_, a, b, c, d] = *prefix;
        let Some((message, rest)) = after.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize) else {
            break;
        };
        each(message);
        bytes = rest;
    }
    bytes
}

fn check_status(trailers: &HeaderMap) -> Result<(), Fault> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("missing");
    match text("grpc-status") {
        "0" => Ok(()),
        code => Err(format!("status {code}: {}", text("grpc-message")).into()),
    }
}
