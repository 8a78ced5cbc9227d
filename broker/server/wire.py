"""Messages to bytes and back.

What is encoded for every message is joined by hand from encoded parts: a commit shares its subject and time, and one
message costs a third of what building a protobuf object costs. Tests hold it against the generated code. Encoding:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from broker.api.broker_pb2 import Message as WireMessage
from broker.api.broker_pb2 import MessageBatch, PublishRequest, PublishResponse
from broker.engine.outlet import Content, Framing
from broker.engine.publication import Duplicate
from broker.errors import InvalidRequest

M = TypeVar("M", bound=Message)


def _key(field: int, wire_type: int) -> bytes:
    return bytes([field << 3 | wire_type])


_VARINT, _LENGTH = 0, 2
_BODY = _key(WireMessage.BODY_FIELD_NUMBER, _LENGTH)
_SUBJECT = _key(WireMessage.SUBJECT_FIELD_NUMBER, _LENGTH)
_ID = _key(WireMessage.ID_FIELD_NUMBER, _VARINT)
_PUBLISHED_AT = _key(WireMessage.PUBLISHED_AT_FIELD_NUMBER, _LENGTH)
_POSITION = _key(MessageBatch.POSITION_FIELD_NUMBER, _VARINT)
_DUPLICATE = _key(PublishResponse.DUPLICATE_FIELD_NUMBER, _VARINT) + b"\1"
_FIRST_VARINT = _key(1, _VARINT)
_FIRST_LENGTH = _key(1, _LENGTH)


def varint(number: int) -> bytes:
    """Encode a non-negative integer."""
    if number < 0x80:
        return _SMALL[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = [bytes([number]) for number in range(0x80)]


def encode_messages(subject: str, first_id: int, messages: Sequence[Content], published_at: int) -> list[bytes]:
    """Encode consecutive messages of one commit as `broker.Message`; `published_at` in ms."""
    name = subject.encode()
    seconds, milliseconds = divmod(published_at, 1000)
    time = Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000).SerializeToString()
    shared = b"".join((_SUBJECT, varint(len(name)), name, _PUBLISHED_AT, varint(len(time)), time, _ID))
    return [
        b"".join((_BODY, varint(len(body := message.body)), body, shared, varint(message_id), message.headers))
        for message_id, message in enumerate(messages, first_id)
    ]


def _one_each(messages: list[bytes]) -> list[bytes]:
    return messages


def _joined(messages: list[bytes]) -> list[bytes]:
    parts: list[bytes] = []
    for message in messages:
        parts += (_FIRST_LENGTH, varint(len(message)), message)
    return [b"".join(parts)]


def _position(message_id: int) -> bytes:
    return _POSITION + varint(message_id)


SINGLE = Framing(_one_each)
"""Subscribe: each message is a response."""

BATCH = Framing(_joined, _position)
"""SubscribeBatch: one `broker.MessageBatch` holds many messages."""


def publish_response(outcome: int) -> bytes:
    """Encode a `broker.PublishResponse`."""
    encoded = _FIRST_VARINT + varint(outcome)
    return encoded + _DUPLICATE if type(outcome) is Duplicate else encoded


def encode_headers(request: PublishRequest) -> bytes:
    """Return a message's headers as they stand in a `broker.Message`, in the order of their names."""
    return WireMessage(headers=request.headers).SerializeToString(deterministic=True)


def decode(kind: type[M], data: bytes) -> M:
    """Decode a request.

    Raises:
        InvalidRequest: REQUEST_MALFORMED.
    """
    try:
        return kind.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        name = kind.DESCRIPTOR.full_name
        text = f"the request is not a {name}: its bytes are not protobuf, or a text in it is not UTF-8"
        raise InvalidRequest("REQUEST_MALFORMED", text, {"message": name}) from None
