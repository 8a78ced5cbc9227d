//! What Python sees.
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::frame;
use crate::inbox::{Arrival, Inbox};
use crate::lock;
use crate::outbox::{Command, Outbox};
use crate::server::{serve, Kind, Limits, Route, Shared};
use crate::status::{Code, Status};
use crate::table::{Call, Table};

#[pyclass(frozen)]
pub struct Door {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[pymethods]
impl Door {
    /// routes: (path, "unary" | "subscription" | "dialogue", shape or None) each.
    #[new]
    #[pyo3(signature = (address, routes, *, metadata=vec![], max_message=4 << 20, max_streams=1000,
                        max_waiting=100_000, queue_frames=1000, queue_bytes=1 << 20, max_unanswered=16))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        address: &str,
        routes: Vec<(String, String)>,
        metadata: Vec<String>,
        max_message: usize,
        max_streams: u32,
        max_waiting: usize,
        queue_frames: usize,
        queue_bytes: usize,
        max_unanswered: usize,
    ) -> PyResult<Self> {
        let mut paths = HashMap::new();
        let mut table = Vec::new();
        for (path, kind) in routes {
            let kind = match kind.as_str() {
                "unary" => Kind::Unary,
                "subscription" => Kind::Subscription,
                "dialogue" => Kind::Dialogue,
                other => return Err(PyValueError::new_err(format!("{path}: no such kind of call: {other}"))),
            };
            paths.insert(path, table.len());
            table.push(Route { kind });
        }
        let metadata = metadata
            .iter()
            .map(|name| name.parse().map_err(|_| PyValueError::new_err(format!("bad header name {name:?}"))))
            .collect::<PyResult<Vec<HeaderName>>>()?;
        let shared = Arc::new(Shared {
            paths,
            metadata,
            limits: Limits { message: max_message, streams: max_streams, queue_frames, queue_bytes, max_unanswered },
            inbox: Inbox::new(table.len(), max_waiting)?,
            outbox: Outbox::default(),
            table: Mutex::new(Table::default()),
            connections: AtomicUsize::new(0),
            routes: table,
        });
        let listener = TcpListener::bind(address).map_err(|e| PyOSError::new_err(format!("{address}: {e}")))?;
        listener.set_nonblocking(true)?;
        let door = Door { shared: shared.clone(), address: listener.local_addr()? };
        // one thread: a multi-thread runtime costs a third of the rate
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("door".into()).spawn(move || {
            runtime.block_on(async move {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    serve(listener, shared).await;
                }
            });
        })?;
        Ok(door)
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
    /// gone: [(token, code), ...], writable: [token, ...]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let mut batch = self.shared.inbox.take();
        self.drop_the_dead(&mut batch.calls);
        let calls = PyList::empty(py);
        for (route, arrivals) in batch.calls.into_iter().enumerate().filter(|(_, calls)| !calls.is_empty()) {
                        let items = arrivals.into_iter().map(|arrival| arrival.into_python(py)).collect::<PyResult<Vec<_>>>()?;
            calls.append((route, PyList::new(py, items)?))?;
        }
        let frames = batch.frames.into_iter().map(|(token, message)| (token, message.map(|m| PyBytes::new(py, &m))));
        let frames = PyList::new(py, frames.collect::<Vec<_>>())?;
        let gone = PyList::new(py, batch.gone.iter().map(|(token, _)| token))?;
        let writable = PyList::new(py, batch.writable)?;
        (calls, frames, gone, writable).into_pyobject(py)
    }

    /// Response messages of unary calls: [(token, message), ...].
    fn answer(&self, answers: &Bound<'_, PyList>) -> PyResult<()> {
        let mut framed = Vec::with_capacity(answers.len());
        let mut buffer = BytesMut::with_capacity(answers.len() * 16);
        for item in answers.iter() {
            let (token, message): (u64, Bound<'_, PyBytes>) = item.extract()?;
            frame::put(&mut buffer, message.as_bytes());
            framed.push((token, buffer.split().freeze()));
        }
        self.shared.outbox.push(Command::Answer(framed));
        Ok(())
    }

    /// Sends the initial metadata of these streams now.
    fn open(&self, tokens: Vec<u64>) {
        self.shared.outbox.push(Command::Open(tokens));
    }

    /// One message, or a list of messages, into each of these streams; all of them or none per stream.
    /// Returns the tokens whose queue was full: they got nothing, and `take` says when they are writable.
    fn send<'py>(&self, messages: &Bound<'py, PyAny>, tokens: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
        let py = messages.py();
        let mut buffer = BytesMut::new();
        let mut frames = 1;
        if let Ok(message) = messages.cast::<PyBytes>() {
            frame::put(&mut buffer, message.as_bytes());
        } else if let Ok(list) = messages.cast::<PyList>() {
            frames = list.len();
            buffer.reserve(list.iter().map(|m| m.len().unwrap_or(0) + frame::PREFIX).sum());
            for message in list.iter() {
                frame::put(&mut buffer, message.cast::<PyBytes>()?.as_bytes());
            }
        } else {
            return Err(PyTypeError::new_err("messages: bytes or a list of bytes"));
        }
        let data = buffer.freeze();
        let mut sinks = Vec::with_capacity(tokens.len());
        let mut full = Vec::new();
        {
            let mut table = lock(&self.shared.table);
            for token in tokens.iter() {
                let token: u64 = token.extract()?;
                if let Some(Call::Stream(sink)) = table.get(token) {
                    if sink.admit(frames, data.len(), &self.shared) {
                        sinks.push(sink.clone());
                    } else {
                        full.push(token);
                    }
                }
            }
        }
        if frames > 0 && !sinks.is_empty() {
            self.shared.outbox.push(Command::Send(sinks, data, frames));
        }
        PyList::new(py, full)
    }

    /// Ends calls of any kind: [(token, code, message, details), ...]; streams after what was sent to them.
    fn finish(&self, endings: Vec<(u64, u32, String, Vec<u8>, Vec<(String, String)>)>) {
        let endings = endings.into_iter().map(|(token, code, message, details, trailers)| {
            (token, Status { code, message, details: Bytes::from(details), trailers })
        });
        self.shared.outbox.push(Command::Finish(endings.collect()));
    }

    /// No new connections; GOAWAY to the standing ones, which close when their calls have ended.
    fn drain(&self) {
        self.shared.outbox.push(Command::Drain);
    }

    /// Ends the thread and all connections.
    fn stop(&self) {
        self.shared.outbox.push(Command::Stop);
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        counters.set_item("connections", self.shared.connections.load(Ordering::Relaxed))?;
        counters.set_item("calls", lock(&self.shared.table).len())?;
        counters.set_item("wakes", self.shared.inbox.wakes.load(Ordering::Relaxed))?;
        Ok(counters)
    }
}

impl Door {
    /// Calls whose deadline has passed or whose client has gone while they waited cost Python nothing.
    fn drop_the_dead(&self, calls: &mut [Vec<Arrival>]) {
        let now = Instant::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut expired = Vec::new();
        let mut table = lock(&self.shared.table);
        for arrivals in calls {
            arrivals.retain(|arrival| {
                if arrival.deadline.is_some_and(|deadline| deadline <= now) {
                    expired.push((arrival.token, Status::new(Code::DeadlineExceeded, "")));
                    return false;
                }
                let reset = match table.get(arrival.token) {
                    Some(Call::Unary(respond)) => respond.poll_reset(&mut cx).is_ready(),
                    Some(Call::Stream(_)) => return true,
                    None => return false,
                };
                if reset {
                    table.remove(arrival.token);
                }
                !reset
            });
        }
        drop(table);
        if !expired.is_empty() {
            self.shared.outbox.push(Command::Finish(expired));
        }
    }
}

impl Arrival {
    fn into_python<'py>(self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let metadata = self.metadata.map(|values| {
            values.into_iter().map(|v| v.as_ref().and_then(|v: &HeaderValue| v.to_str().ok()).map(|v| PyString::new(py, v))).collect::<Vec<_>>()
        });
        let request = self.message.map(|message| PyBytes::new(py, &message));
        (self.token, request, metadata).into_pyobject(py)
    }
}

