//! What the headers of a request say.
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::frame::Encoding;
use crate::refusal::Refusal;

pub struct Head {
    /// Values of the headers that Python asked for; none if the request has none of them.
    pub metadata: Option<Vec<Option<HeaderValue>>>,
    pub deadline: Option<Instant>,
    pub encoding: Encoding,
}

impl Head {
    pub fn read(headers: &HeaderMap, wanted: &[HeaderName]) -> Result<Self, Refusal> {
        let mut metadata = None;
        for (position, name) in wanted.iter().enumerate() {
            if let Some(value) = headers.get(name) {
                metadata.get_or_insert_with(|| vec![None; wanted.len()])[position] = Some(value.clone());
            }
        }
        let deadline = match headers.get("grpc-timeout") {
            None => None,
            Some(text) => {
                let duration = text.to_str().ok().and_then(timeout).ok_or(Refusal::BadTimeout)?;
                Instant::now().checked_add(duration)
            }
        };
        let encoding = match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
            None | Some(b"identity") => Encoding::Identity,
            Some(b"gzip") => Encoding::Gzip,
            Some(_) => return Err(Refusal::UnknownEncoding),
        };
        Ok(Head { metadata, deadline, encoding })
    }
}

/// "at most 8 digits and a unit" (the gRPC protocol over HTTP/2).
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_at_most_eight_digits_and_a_unit() {
        assert_eq!(timeout("15S"), Some(Duration::from_secs(15)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "15", "123456789S", "-1S", "1x", "1 S", "é"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }
}
