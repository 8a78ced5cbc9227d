"""What the client takes and gives: messages, start positions, durations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc

from broker.api import broker_pb2
from broker.client.errors import BrokerError, build

Expiry = timedelta | float
"""How long a message is kept: a timedelta or seconds, rounded up to whole seconds; 0 is fire and forget."""

_MAX_SECONDS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was published.

    Attributes:
        subject: where it was published to.
        id: its number in the subject, from 1.
        body: its bytes.
        published_at: when the server accepted it, by the server's clock, to the millisecond (UTC).
        headers: what travelled with it.
    """

    subject: str
    id: int
    body: bytes
    published_at: datetime
    headers: Mapping[str, bytes] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to publish with `Broker.publish_many`; the fields are those of `Broker.publish`."""

    subject: str
    body: bytes
    expires: Expiry = 0
    key: bytes | str | None = None
    headers: Mapping[str, bytes] | None = field(default=None, hash=False)


class MessageId(int):
    """The id of a published message: an int that also says how it came about.

    Attributes:
        duplicate: a message with the same key had been published before; this is its id, and nothing was published.
    """

    __slots__ = ()
    duplicate = False


class DuplicateId(MessageId):
    """The id of a message that had been published before."""

    __slots__ = ()
    duplicate = True


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription starts. Use LATEST, EARLIEST, `after_id` or `since`.

    Attributes:
        kind: "latest", "earliest", "after_id" or "since".
        id: for "after_id".
        time: for "since".
    """

    kind: str
    id: int = 0
    time: datetime | None = None


LATEST = Start("latest")
"""With the first message committed after the subscription stands."""

EARLIEST = Start("earliest")
"""With the oldest message that is retained."""


def after_id(message_id: int) -> Start:
    """Start with the first retained message whose id is greater."""
    return Start("after_id", id=message_id)


def since(time: datetime) -> Start:
    """Start with the first retained message published at or after a time, by the server's clock.

    Raises:
        ValueError: the time has no timezone.
    """
    if time.tzinfo is None:
        msg = f"the time {time.isoformat()} has no timezone: use an aware datetime, e.g. datetime.now(UTC)"
        raise ValueError(msg)
    return Start("since", time=time)


def subscribe_request(subject: str, start: Start) -> broker_pb2.SubscribeRequest:
    """Return a subscription as the wire has it."""
    try:
        request = broker_pb2.SubscribeRequest(subject=subject)
        if start.kind == "earliest":
            request.earliest = True
        elif start.kind == "after_id":
            request.after_id = start.id
        elif start.time is not None:
            request.since.FromDatetime(start.time.astimezone(UTC))
    except UnicodeEncodeError:
        raise _not_utf8() from None
    except ValueError as error:
        raise _invalid("START_INVALID", f"the start position cannot be sent: {error}") from None
    return request


def fetch_request(subject: str, message_id: int) -> broker_pb2.FetchRequest:
    """Return a fetch as the wire has it."""
    try:
        return broker_pb2.FetchRequest(subject=subject, id=message_id)
    except UnicodeEncodeError:
        raise _not_utf8() from None
    except ValueError:
        raise _invalid("MESSAGE_NOT_FOUND", f"no message can have the id {message_id}") from None


def publish_part(
    subject: str, body: bytes, expires: Expiry, key: bytes = b"", headers: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a message to publish as a `broker.PublishBatchRequest` that has no other.

    Parts put one after the other are a request with all their messages: that is how protobuf merges.

    Raises:
        InvalidRequest: the wire has no form for it. All other checks are the server's.
        TypeError: the body, the key or a header is not bytes or alike.
    """
    # bytes(5) would be five zeros; a memoryview takes bytes-like objects only.
    body = bytes(memoryview(body))
    part = broker_pb2.PublishBatchRequest()
    try:
        part.messages.add(
            subject=subject, body=body, expirationSeconds=whole_seconds(expires), message_key=key, headers=headers
        )
    except UnicodeEncodeError as error:
        raise _not_utf8("subject" if error.object == subject else "name of a header") from None
    return part.SerializeToString()


def key_bytes(key: bytes | str) -> bytes:
    """Return a caller's key as the wire has it.

    Raises:
        InvalidRequest: the text is not one that UTF-8 can hold.
        ValueError: it is empty: that would be no key.
        TypeError: it is neither text nor bytes.
    """
    try:
        data = key.encode() if isinstance(key, str) else bytes(memoryview(key))
    except UnicodeEncodeError:
        raise _invalid("REQUEST_MALFORMED", "the key is not text that UTF-8 can hold") from None
    if not data:
        msg = "a key has at least one byte; leave it out to have one made"
        raise ValueError(msg)
    return data


def whole_seconds(expires: Expiry) -> int:
    """Return an expiry in whole seconds, rounded away from 0: neither half a second nor minus half becomes 0.

    Raises:
        InvalidRequest: it is not a number, or more than the wire can say.
    """
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else float(expires)
    if math.isnan(seconds):
        raise _invalid("EXPIRATION_TOO_LONG", "the expiry is not a number of seconds")
    if abs(seconds) > _MAX_SECONDS:
        raise _invalid("EXPIRATION_TOO_LONG", f"an expiry is at most {_MAX_SECONDS} s, not {seconds:.0f} s")
    return math.ceil(seconds) if seconds >= 0 else math.floor(seconds)


def from_wire(message: broker_pb2.Message) -> Message:
    """Return a message that came over the wire."""
    stamp = message.published_at
    published_at = datetime.fromtimestamp(stamp.seconds, UTC)
    if stamp.nanos:
        published_at += timedelta(microseconds=stamp.nanos // 1000)
    headers = dict(message.headers) if message.headers else {}
    return Message(message.subject, message.id, message.body, published_at, headers)


def _not_utf8(what: str = "subject") -> BrokerError:
    reason = "SUBJECT_INVALID" if what == "subject" else "REQUEST_MALFORMED"
    return _invalid(reason, f"the {what} is not text that UTF-8 can hold")


def _invalid(reason: str, message: str) -> BrokerError:
    return build(grpc.StatusCode.INVALID_ARGUMENT, reason, message)
