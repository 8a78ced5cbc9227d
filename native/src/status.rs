//! gRPC status, as trailers or as a trailers-only response.
use base64::prelude::{Engine, BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

#[derive(Clone, Copy)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    ResourceExhausted = 8,
    Unimplemented = 12,
}

pub struct Status {
    pub code: u32,
    pub message: String,
    pub details: Bytes,
    pub trailers: Vec<(String, String)>,
}

/// What the gRPC protocol wants escaped in `grpc-message`, besides what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status { code: code as u32, message: message.into(), details: Bytes::new(), trailers: Vec::new() }
    }

    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert("grpc-status", HeaderValue::from(self.code));
        if !self.message.is_empty() {
            let escaped = utf8_percent_encode(&self.message, ESCAPED).to_string();
            if let Ok(value) = HeaderValue::from_str(&escaped) {
                headers.insert("grpc-message", value);
            }
        }
        for (name, value) in &self.trailers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        if !self.details.is_empty() {
            let encoded = BASE64_STANDARD_NO_PAD.encode(&self.details);
            if let Ok(value) = HeaderValue::from_str(&encoded) {
                headers.insert("grpc-status-details-bin", value);
            }
        }
    }

    pub fn trailers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        self.write(&mut headers);
        headers
    }

    pub fn response(&self) -> http::Response<()> {
        let mut response = opening();
        self.write(response.headers_mut());
        response
    }
}

/// The head of every response.
pub fn opening() -> http::Response<()> {
    let mut response = http::Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
