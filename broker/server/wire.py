"""Messages to bytes and back.

What is encoded for every message is joined by hand from encoded parts: a commit shares its subject and time, and one
message costs a third of what building a protobuf object costs. Tests hold it against the generated code. Encoding:
https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from broker.api.broker_pb2 import Message as WireMessage
from broker.api.broker_pb2 import MessageBatch, PublishBatchResponse, PublishError, PublishResponse
from broker.engine.outlet import Framing
from broker.engine.publication import Duplicate, Outcomes, all_new
from broker.errors import InvalidRequest, Refused
from broker.server.statuses import code_of, duration
from broker.store.columns import columns_of
from broker.store.contract import NewMessage

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
_FIRST_LENGTH, _SECOND_LENGTH = _key(1, _LENGTH), _key(2, _LENGTH)
_HEADERS = _key(WireMessage.HEADERS_FIELD_NUMBER, _LENGTH)


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
_CONTINUED = [bytes([number | 0x80]) for number in range(0x80)]


def varints(first: int, count: int) -> list[bytes]:
    """Encode consecutive non-negative integers: neighbours differ in their first byte only."""
    encoded: list[bytes] = []
    end = first + count
    while first < end:
        block = first >> 7
        places = slice(first & 0x7F, min(end - (block << 7), 0x80))
        if block:
            rest = varint(block)
            encoded += [begin + rest for begin in _CONTINUED[places]]
        else:
            encoded += _SMALL[places]
        first = block + 1 << 7
    return encoded


def _lengths(key: bytes, contents: Sequence[bytes]) -> list[bytes]:
    """Encode what stands before each of some contents: a key and the content's length."""
    begins = {size: key + varint(size) for size in set(map(len, contents))}
    return [begins[len(content)] for content in contents]


def encode_messages(subject: str, first_id: int, messages: Sequence[NewMessage], published_at: int) -> list[bytes]:
    """Encode consecutive messages of one commit as `broker.Message`; `published_at` in ms."""
    columns = columns_of(messages)
    bodies, headers = columns.bodies, columns.headers
    common = _common(subject, published_at)
    if len(bodies) == 1:
        parts = _BODY, varint(len(bodies[0])), bodies[0], common, varint(first_id), headers[0] if headers else b""
        return [b"".join(parts)]
    ids = varints(first_id, len(bodies))
    rows = zip(_lengths(_BODY, bodies), bodies, repeat(common), ids, headers or repeat(b""), strict=False)
    return list(map(b"".join, rows))


@lru_cache(maxsize=64)
def _common(subject: str, published_at: int) -> bytes:
    """Encode what the messages of one commit have in common, up to the key of the id."""
    name = subject.encode()
    seconds, milliseconds = divmod(published_at, 1000)
    time = Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000).SerializeToString()
    return b"".join((_SUBJECT, varint(len(name)), name, _PUBLISHED_AT, varint(len(time)), time, _ID))


def _one_each(messages: list[bytes]) -> list[bytes]:
    return messages


def _joined(messages: list[bytes]) -> list[bytes]:
    return [b"".join(chain.from_iterable(zip(_lengths(_FIRST_LENGTH, messages), messages, strict=True)))]


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


def publish_responses(outcomes: Sequence[int]) -> list[bytes]:
    """Encode `broker.PublishResponse`s, none of a Duplicate."""
    encoded = varints(outcomes.start, len(outcomes)) if isinstance(outcomes, range) else map(varint, outcomes)
    return [_FIRST_VARINT + message_id for message_id in encoded]


def batch_response(places: Sequence[int], refused: Sequence[tuple[int, Refused]], outcomes: Outcomes) -> bytes:
    """Encode a `broker.PublishBatchResponse`: what became of the messages at some places, and the others' errors."""
    if not refused and all_new(outcomes):
        return PublishBatchResponse(ids=outcomes).SerializeToString()
    ids = [0] * (len(places) + len(refused))
    duplicates: list[int] = []
    errors = list(refused)
    for place, outcome in zip(places, outcomes, strict=True):
        if isinstance(outcome, Refused):
            errors.append((place, outcome))
        else:
            ids[place] = outcome
            if type(outcome) is Duplicate:
                duplicates.append(place)
    errors.sort(key=lambda pair: pair[0])
    response = PublishBatchResponse(ids=ids, duplicates=duplicates)
    response.errors.extend(_publish_error(place, error) for place, error in errors)
    return response.SerializeToString()


def _publish_error(place: int, error: Refused) -> PublishError:
    wait = None if error.retry_after is None else duration(error.retry_after)
    return PublishError(index=place, code=code_of(error), reason=error.reason, message=error.message, retry_after=wait)


def encode_headers(headers: Mapping[str, bytes]) -> bytes:
    """Return a message's headers as they stand in a `broker.Message`, in the order of their names."""
    encoded: list[bytes] = []
    # Looking values up is twice as fast as protobuf's items().
    for text in sorted(headers):
        name, value = text.encode(), headers[text]
        entry = b"".join((_FIRST_LENGTH, varint(len(name)), name, _SECOND_LENGTH, varint(len(value)), value))
        encoded += (_HEADERS, varint(len(entry)), entry)
    return b"".join(encoded)


def decode(kind: type[M], data: bytes | None) -> M:
    """Decode a request.

    Raises:
        InvalidRequest: REQUEST_MALFORMED.
    """
    return decode_all(kind, (data,))[0]


def decode_all(kind: type[M], requests: Iterable[bytes | None]) -> list[M]:
    """Decode requests.

    Raises:
        InvalidRequest: REQUEST_MALFORMED, of one or more of them.
    """
    try:
        return [kind.FromString(data or b"") for data in requests]
    except (DecodeError, UnicodeDecodeError):
        name = kind.DESCRIPTOR.full_name
        text = f"the request is not a {name}: its bytes are not protobuf, or a text in it is not UTF-8"
        raise InvalidRequest("REQUEST_MALFORMED", text, {"message": name}) from None
