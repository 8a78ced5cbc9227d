//! From an HTTP/2 request to a call in the inbox.
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use h2::server::SendResponse;
use h2::RecvStream;
use http::{Method, Request, Response, StatusCode};

use crate::account::{Account, Chunk};
use crate::head::Head;
use crate::inbox::{Arrival, Frame};
use crate::limits::seconds;
use crate::lock;
use crate::refusal::Refusal;
use crate::shared::{Kind, Shared};
use crate::sink::Sink;
use crate::table::{Call, Unary};
use crate::upload::{Inlet, Single, Trouble, Upload};

/// Returns at once: what cannot be done without waiting gets a task of its own.
pub fn start(request: Request<RecvStream>, mut respond: SendResponse<Chunk>, shared: &Arc<Shared>) {
    let (parts, body) = request.into_parts();
    let grpc = parts.headers.get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"));
    if parts.method != Method::POST || !grpc {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let _ = respond.send_response(response, true);
        return;
    }
    let Some(&route) = shared.paths.get(parts.uri.path()) else {
        return shared.refuse(respond, Refusal::UnknownMethod);
    };
    let head = match Head::read(&parts.headers, &shared.metadata) {
        Ok(head) => head,
        Err(refusal) => return shared.refuse(respond, refusal),
    };
    let upload = Upload::new(body, head.encoding, shared.limits.max_request, &shared.received);
    if shared.routes[route] == Kind::Dialogue {
        let inlet = Inlet::new(upload);
        return arrive(route, head, None, Some(inlet), respond, shared);
    }
    // mostly the request is here already, whole
    let mut single = Single::new(upload);
    match single.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(request) => received(route, head, request, respond, shared),
        Poll::Pending if shared.counters.uploads.get() >= shared.limits.max_calls as u64 => {
            shared.refuse(respond, Refusal::TooManyCalls);
        }
        Poll::Pending => {
            let shared = shared.clone();
            tokio::spawn(async move {
                shared.counters.uploads.add(1);
                let patience = seconds(shared.limits.request_timeout).unwrap_or(Duration::MAX);
                let (patience, late) = match head.deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                    Some(left) if left < patience => (left, Refusal::Expired),
                    _ => (patience, Refusal::TooSlow),
                };
                let request = tokio::time::timeout(patience, poll_fn(|cx| single.poll(cx))).await;
                shared.counters.uploads.less();
                received(route, head, request.unwrap_or(Err(late.into())), respond, &shared);
            });
        }
    }
}

fn received(
    route: usize,
    head: Head,
    request: Result<Frame, Trouble>,
    respond: SendResponse<Chunk>,
    shared: &Arc<Shared>,
) {
    match request {
        Ok(frame) => arrive(route, head, Some(frame), None, respond, shared),
        Err(Trouble::Refused(refusal)) => shared.refuse(respond, refusal),
        Err(Trouble::Gone) => {}
    }
}

fn arrive(
    route: usize,
    head: Head,
    request: Option<Frame>,
    inlet: Option<Inlet>,
    respond: SendResponse<Chunk>,
    shared: &Arc<Shared>,
) {
    if shared.is_full() {
        return shared.refuse(respond, Refusal::TooManyCalls);
    }
    let deadline = head.deadline;
    let mut stream = None;
    let token = shared.insert(|token| match shared.routes[route] {
        Kind::Unary => Call::Unary(Unary { respond, deadline }),
        kind => {
            let bounded = kind == Kind::Subscription;
            let account = Account::new(token, bounded, &shared.limits, &shared.inbox, &shared.undelivered);
            Call::Stream(stream.insert(Sink::new(token, respond, account)).clone())
        }
    });
    let arrival = Arrival { token, request, metadata: head.metadata, deadline };
    if !shared.inbox.call(route, arrival) {
        let call = lock(&shared.table).remove(token);
        match call {
            Some(Call::Unary(unary)) => shared.refuse(unary.respond, Refusal::TooManyCalls),
            Some(Call::Stream(sink)) => sink.finish(shared.refusals.status(Refusal::TooManyCalls)),
            None => {}
        }
    } else if let Some(sink) = stream {
        tokio::spawn(sink.run(inlet, deadline, shared.clone()));
    }
}
