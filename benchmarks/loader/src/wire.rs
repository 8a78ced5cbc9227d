//! The messages of `proto/broker/broker.proto`, by hand: those that a load sends, and what it checks of those it gets.
//! Bytes that are no message end the reading early, and so are missed by the checks of ids and counts.

use bytes::{BufMut, Bytes, BytesMut};

const VARINT: u8 = 0;
const BYTES: u8 = 2;
/// Seconds; longer than any load takes.
const EXPIRATION: u64 = 3600;

/// A message with its gRPC prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut buffer = BytesMut::with_capacity(5 + message.len());
    buffer.put_u8(0);
    buffer.put_u32(message.len() as u32);
    buffer.put_slice(message);
    buffer.freeze()
}

/// A PublishRequest of a message that is kept.
pub fn publish(subject: &str, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::with_capacity(body.len() + subject.len() + 16);
    put_bytes(&mut request, 1, subject.as_bytes());
    put_bytes(&mut request, 2, body);
    put_number(&mut request, 3, EXPIRATION);
    request
}

/// A PublishBatchRequest of the same message so many times.
pub fn batch(message: &[u8], times: usize) -> Vec<u8> {
    let mut request = Vec::with_capacity((message.len() + 4) * times);
    for _ in 0..times {
        put_bytes(&mut request, 1, message);
    }
    request
}

/// A SubscribeRequest: from the oldest retained message, or from now.
pub fn subscribe(subject: &str, earliest: bool) -> Vec<u8> {
    let mut request = Vec::new();
    put_bytes(&mut request, 1, subject.as_bytes());
    if earliest {
        put_number(&mut request, 4, 1);
    }
    request
}

/// A FetchRequest.
pub fn fetch(subject: &str, id: u64) -> Vec<u8> {
    let mut request = Vec::new();
    put_bytes(&mut request, 1, subject.as_bytes());
    put_number(&mut request, 2, id);
    request
}

/// The id that a PublishResponse gives; 0 when it gives none.
pub fn published_id(response: &[u8]) -> u64 {
    Fields(response).find_map(|(number, value)| (number == 1).then(|| value.number())).unwrap_or(0)
}

/// How many messages a PublishBatchResponse acknowledges, and the largest of their ids.
pub fn published_ids(response: &[u8]) -> (u64, u64) {
    let (mut count, mut largest) = (0, 0);
    for (number, value) in Fields(response) {
        if number == 1 {
            let mut packed = value.bytes();
            while let Some(id) = take_varint(&mut packed) {
                count += u64::from(id > 0);
                largest = largest.max(id);
            }
        }
    }
    (count, largest)
}

/// The id and the body of a Message.
pub fn message(bytes: &[u8]) -> (u64, &[u8]) {
    let (mut id, mut body) = (0, &bytes[..0]);
    for (number, value) in Fields(bytes) {
        match number {
            1 => body = value.bytes(),
            3 => id = value.number(),
            _ => (),
        }
    }
    (id, body)
}

/// The Messages of a MessageBatch.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields(bytes).filter(|(number, _)| *number == 1).map(|(_, value)| value.bytes())
}

fn put_varint(buffer: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        buffer.push(number as u8 | 128);
        number >>= 7;
    }
    buffer.push(number as u8);
}

fn put_number(buffer: &mut Vec<u8>, field: u8, number: u64) {
    buffer.push(field << 3 | VARINT);
    put_varint(buffer, number);
}

fn put_bytes(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    buffer.push(field << 3 | BYTES);
    put_varint(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 127) << shift;
        if *byte < 128 {
            return Some(number);
        }
    }
    None
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    fn number(&self) -> u64 {
        match self {
            Value::Number(number) => *number,
            Value::Bytes(_) => 0,
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match self {
            Value::Number(_) => &[],
            Value::Bytes(bytes) => bytes,
        }
    }
}

/// The fields of a message, by number.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = take_varint(&mut self.0)?;
        let value = match (key & 7) as u8 {
            VARINT => Value::Number(take_varint(&mut self.0)?),
            BYTES => {
                let size = take_varint(&mut self.0)? as usize;
                let (bytes, rest) = self.0.split_at_checked(size)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_with_its_id_and_body() {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, 1, b"body");
        put_bytes(&mut bytes, 2, b"subject");
        put_number(&mut bytes, 3, 300);
        assert_eq!(message(&bytes), (300, &b"body"[..]));
        let pair = batch(&bytes, 2);
        assert_eq!(messages(&pair).map(message).map(|(id, _)| id).collect::<Vec<_>>(), [300, 300]);
    }

    #[test]
    fn acknowledged_ids_are_counted_without_the_refused() {
        let mut response = Vec::new();
        put_bytes(&mut response, 1, &[1, 0, 0xac, 2]);
        assert_eq!(published_ids(&response), (2, 300));
    }

    #[test]
    fn bytes_that_are_no_message_have_no_id() {
        assert_eq!(published_id(b"\x08"), 0);
        assert_eq!(message(b"\x0a\xff\x01x").0, 0);
        assert_eq!(published_id(&[0xff; 20]), 0);
    }
}
