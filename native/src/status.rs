//! gRPC status, as trailers or as a trailers-only response.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
use std::sync::Arc;

use base64::prelude::{Engine, BASE64_STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use percent_encoding::{utf8_percent_encode, AsciiSet, CONTROLS};

/// What the protocol wants escaped in `grpc-message`, besides what is not ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The trailers that say how a call ended.
#[derive(Clone)]
pub struct Status(Arc<HeaderMap>);

impl Status {
    /// None: one of the trailers is not a header.
    pub fn new(code: u32, message: &str, details: &[u8], trailers: &[(String, String)]) -> Option<Self> {
        let mut headers = HeaderMap::with_capacity(4);
        for (name, value) in trailers {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
        }
        headers.insert("grpc-status", HeaderValue::from(code));
        if !message.is_empty() {
            let escaped = utf8_percent_encode(message, ESCAPED).to_string();
            headers.insert("grpc-message", HeaderValue::from_str(&escaped).ok()?);
        }
        if !details.is_empty() {
            let encoded = BASE64_STANDARD_NO_PAD.encode(details);
            headers.insert("grpc-status-details-bin", HeaderValue::from_str(&encoded).ok()?);
        }
        Some(Status(Arc::new(headers)))
    }

    pub fn ok() -> Self {
        let mut headers = HeaderMap::with_capacity(1);
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        Status(Arc::new(headers))
    }

    pub fn trailers(&self) -> HeaderMap {
        (*self.0).clone()
    }

    /// A response that has nothing but its status.
    pub fn response(&self) -> Response<()> {
        let mut response = opening();
        response.headers_mut().extend((*self.0).clone());
        response
    }
}

/// The head of every response.
pub fn opening() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_escaped_and_details_are_encoded() {
        let trailers = [("grpc-retry-pushback-ms".to_owned(), "100".to_owned())];
        let headers =
            Status::new(3, "100 % sure\nö", &[1, 2], &trailers).map(|status| status.trailers()).unwrap_or_default();
        assert_eq!(headers["grpc-status"], "3");
        assert_eq!(headers["grpc-message"], "100 %25 sure%0A%C3%B6");
        assert_eq!(headers["grpc-status-details-bin"], "AQI");
        assert_eq!(headers["grpc-retry-pushback-ms"], "100");
    }

    #[test]
    fn a_trailer_that_is_no_header_is_refused() {
        assert!(Status::new(0, "", &[], &[("no name".to_owned(), String::new())]).is_none());
    }
}
