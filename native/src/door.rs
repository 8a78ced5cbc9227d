//! What Python sees.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::BytesMut;
use http::HeaderName;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::account::{Chunk, Hold};
use crate::budget::{Budget, Charge};
use crate::counters::Counters;
use crate::frame;
use crate::inbox::{Arrival, Inbox};
use crate::limits::Limits;
use crate::lock;
use crate::outbox::{Command, Outbox};
use crate::refusal::{Refusal, Refusals};
use crate::server::{listen_on, serve};
use crate::shared::{Kind, Shared};
use crate::status::Status;
use crate::table::{Call, Table};
use crate::tls::{Pem, Tls};

/// An answer up to this size is not held against the budget: a publish that was stored shall hear so.
const SMALL_ANSWER: usize = 1024;

/// Code, message, details, trailers.
type Said = (u32, String, Vec<u8>, Vec<(String, String)>);
/// With the token before them.
type Ending = (u64, u32, String, Vec<u8>, Vec<(String, String)>);

#[pyclass(frozen)]
pub struct Door {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[pymethods]
impl Door {
    #[new]
    #[pyo3(signature = (listen, routes, metadata, refusals, limits, tls=None))]
    fn new(
        listen: &str,
        routes: Vec<(String, String)>,
        metadata: Vec<String>,
        refusals: HashMap<String, Said>,
        limits: Limits,
        tls: Option<Pem>,
    ) -> PyResult<Self> {
        let mut paths = HashMap::new();
        let mut kinds = Vec::new();
        for (path, kind) in routes {
            let kind = match kind.as_str() {
                "unary" => Kind::Unary,
                "subscription" => Kind::Subscription,
                "dialogue" => Kind::Dialogue,
                other => return Err(PyValueError::new_err(format!("{path}: no such kind of call: {other}"))),
            };
            paths.insert(path, kinds.len());
            kinds.push(kind);
        }
        let metadata = metadata
            .iter()
            .map(|name| name.parse().map_err(|_| PyValueError::new_err(format!("bad header name {name:?}"))))
            .collect::<PyResult<Vec<HeaderName>>>()?;
        let tls = tls.map(|pem| Tls::new(&pem)).transpose().map_err(PyValueError::new_err)?;
        // one thread: a multi-thread runtime costs a third of the rate
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            listen_on(listen).map_err(|error| PyOSError::new_err(format!("cannot listen on {listen}: {error}")))?
        };
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            paths,
            metadata,
            inbox: Arc::new(Inbox::new(kinds.len(), limits.max_queued_calls)?),
            routes: kinds,
            refusals: Refusals::new(statuses(refusals)?),
            outbox: Outbox::default(),
            table: Mutex::new(Table::default()),
            received: Budget::new(limits.max_received),
            undelivered: Budget::new(limits.max_queued),
            tls,
            counters: Counters::default(),
            sweep: tokio::sync::Notify::new(),
            limits,
        });
        let door = Door { shared: shared.clone(), address };
        std::thread::Builder::new().name("door".into()).spawn(move || {
            runtime.block_on(serve(listener, shared.clone()));
            drop(runtime);
            let calls = std::mem::take(&mut *lock(&shared.table));
            drop(calls);
        })?;
        Ok(door)
    }

    /// TLS of new connections from now on.
    fn set_tls(&self, certificate: Vec<u8>, key: Vec<u8>, client_ca: Option<Vec<u8>>) -> PyResult<()> {
        let Some(tls) = &self.shared.tls else { return Err(PyValueError::new_err("this door speaks no TLS")) };
        tls.set(&(certificate, key, client_ca)).map_err(PyValueError::new_err)
    }

    /// Readable when `take` has something.
    fn fileno(&self) -> i32 {
        self.shared.inbox.fileno()
    }

    #[getter]
    fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that has happened: (calls, frames, gone, writable).
    ///
    /// calls: [(route, [(token, request, metadata or None), ...]), ...]
    /// frames: [(token, message, or None at the client's end), ...]
    /// gone: [token, ...], writable: [token, ...]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut batch = self.shared.inbox.take();
        self.drop_the_dead(&mut batch.calls);
        let calls = PyList::empty(py);
        for (route, arrivals) in batch.calls.into_iter().enumerate().filter(|(_, calls)| !calls.is_empty()) {
            let items = arrivals.into_iter().map(|arrival| arrival.into_python(py)).collect::<PyResult<Vec<_>>>()?;
            calls.append((route, PyList::new(py, items)?))?;
        }
        let frames = batch.frames.into_iter();
        let frames = frames.map(|(token, frame)| (token, frame.map(|frame| PyBytes::new(py, &frame.message))));
        let frames = PyList::new(py, frames.collect::<Vec<_>>())?;
        let gone = PyList::new(py, batch.gone)?;
        let writable = PyList::new(py, batch.writable)?;
        (calls, frames, gone, writable).into_pyobject(py)
    }

    /// Response messages of unary calls: [(token, message), ...].
    fn answer(&self, answers: &Bound<'_, PyList>) -> PyResult<()> {
        let undelivered = &self.shared.undelivered;
        let mut framed = Vec::with_capacity(answers.len());
        let mut refused = Vec::new();
        let mut buffer = BytesMut::with_capacity(answers.len() * 16);
        for item in answers.iter() {
            let (token, message): (u64, Bound<'_, PyBytes>) = item.extract()?;
            let message = message.as_bytes();
            let mut hold = Hold::Nothing;
            if message.len() > SMALL_ANSWER {
                let mut charge = Charge::new(undelivered);
                if !charge.add(message.len()) {
                    refused.push((token, self.shared.refusals.status(Refusal::TooManyAnswerBytes)));
                    continue;
                }
                hold = Hold::Charge(charge);
            }
            frame::put(&mut buffer, message);
            framed.push((token, Chunk::new(buffer.split().freeze(), hold)));
        }
        if !framed.is_empty() {
            self.shared.outbox.push(Command::Answer(framed));
        }
        if !refused.is_empty() {
            self.shared.outbox.push(Command::Finish(refused));
        }
        Ok(())
    }

    /// Sends the initial metadata of these streams now.
    fn open(&self, tokens: Vec<u64>) {
        self.shared.outbox.push(Command::Open(tokens));
    }

    /// The same messages into each of these streams; all of them or none per stream. Framed once, shared by all.
    /// Returns the tokens whose queue was full: they got nothing, and `take` says when they are writable.
    fn send<'py>(&self, messages: &Bound<'py, PyList>, tokens: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let mut full = Vec::new();
        let mut size = 0;
        for message in messages.iter() {
            size += message.cast::<PyBytes>()?.as_bytes().len() + frame::PREFIX;
        }
        let mut sinks = Vec::with_capacity(tokens.len());
        let shared = Arc::new(Charge::force(&self.shared.undelivered, size));
        if !messages.is_empty() {
            let mut table = lock(&self.shared.table);
            for token in tokens.iter() {
                let token: u64 = token.extract()?;
                let Some(Call::Stream(sink)) = table.get(token) else { continue };
                match sink.account.admit(messages.len(), size, &shared) {
                    Some(permit) => sinks.push((sink.clone(), permit)),
                    None => full.push(token),
                }
            }
        }
        if !full.is_empty() {
            self.shared.counters.streams_full.add(full.len() as u64);
        }
        if !sinks.is_empty() {
            let mut buffer = BytesMut::with_capacity(size);
            for message in messages.iter() {
                frame::put(&mut buffer, message.cast::<PyBytes>()?.as_bytes());
            }
            self.shared.outbox.push(Command::Send(sinks, buffer.freeze()));
        }
        PyList::new(messages.py(), full)
    }

    /// Ends calls of any kind: [(token, code, message, details, trailers), ...]; streams after what was sent to them.
    fn finish(&self, endings: Vec<Ending>) -> PyResult<()> {
        if endings.is_empty() {
            return Ok(());
        }
        let endings = endings
            .into_iter()
            .map(|(token, code, message, details, trailers)| Ok((token, status(&(code, message, details, trailers))?)));
        self.shared.outbox.push(Command::Finish(endings.collect::<PyResult<_>>()?));
        Ok(())
    }

    /// No new connections; GOAWAY to the standing ones, which close when their calls have ended.
    fn drain(&self) {
        self.shared.outbox.push(Command::Drain);
    }

    /// Ends the thread and all connections.
    fn stop(&self) {
        self.shared.outbox.push(Command::Stop);
    }

    /// Numbers by name, for metrics.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let shared = &self.shared;
        let found = PyDict::new(py);
        found.set_item("calls", lock(&shared.table).len())?;
        found.set_item("waiting", shared.inbox.waiting())?;
        found.set_item("waiting_bytes", shared.received.used())?;
        found.set_item("queued_bytes", shared.undelivered.used())?;
        found.set_item("batches", shared.inbox.batches())?;
        for (name, value) in shared.counters.values() {
            found.set_item(name, value)?;
        }
        for (name, count) in shared.refusals.counts() {
            found.set_item(format!("refused_{name}"), count)?;
        }
        Ok(found)
    }
}

impl Door {
    /// Calls whose deadline has passed or whose client has gone while they waited cost Python nothing.
    fn drop_the_dead(&self, calls: &mut [Vec<Arrival>]) {
        let now = Instant::now();
        let mut expired = Vec::new();
        let mut dropped = Vec::new();
        let mut table = lock(&self.shared.table);
        for arrivals in calls {
            arrivals.retain(|arrival| {
                let reset = match table.get(arrival.token) {
                    Some(Call::Unary(unary)) => unary.is_reset(),
                    Some(Call::Stream(_)) => return true,
                    None => return false,
                };
                if reset {
                    dropped.push(table.remove(arrival.token));
                } else if arrival.deadline.is_some_and(|deadline| deadline <= now) {
                    expired.push((arrival.token, self.shared.refusals.status(Refusal::Expired)));
                    return false;
                }
                !reset
            });
        }
        drop(table);
        self.shared.counters.calls_cancelled.add(dropped.len() as u64);
        drop(dropped);
        if !expired.is_empty() {
            self.shared.outbox.push(Command::Finish(expired));
        }
    }
}

impl Arrival {
    fn into_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let metadata = self.metadata.map(|values| {
            // Not only ASCII: names of clients may be of any language, and HTTP lets them pass.
            let text = |value: &http::HeaderValue| {
                std::str::from_utf8(value.as_bytes()).ok().map(|text| PyString::new(py, text))
            };
            values.iter().map(|value| value.as_ref().and_then(text)).collect::<Vec<_>>()
        });
        let request = self.request.map(|frame| PyBytes::new(py, &frame.message));
        (self.token, request, metadata).into_pyobject(py)
    }
}

/// In the order of `Refusal::NAMES`.
fn statuses(mut said: HashMap<String, Said>) -> PyResult<Vec<Status>> {
    let statuses = Refusal::NAMES.iter().map(|&name| match said.remove(name) {
        Some(said) => status(&said),
        None => Err(PyValueError::new_err(format!("refusals: {name} is missing"))),
    });
    statuses.collect()
}

fn status((code, message, details, trailers): &Said) -> PyResult<Status> {
    Status::new(*code, message, details, trailers)
        .ok_or_else(|| PyValueError::new_err(format!("trailers that are no headers: {trailers:?}")))
}
