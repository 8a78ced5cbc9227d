"""The errors of the client: one tree, each with a reason that machines read and a sentence for people.

    BrokerError
    ├── InvalidRequest         the request is wrong and will be wrong again
    │   └── MessageNotFound    no message has this id, or it has expired
    ├── NotAuthorized          the client may not do this with this subject
    ├── LimitReached           a limit of the server: try again later
    │   └── RateLimited        the rate limit of the load balancer in front of it
    ├── Unavailable            the server cannot be reached or cannot serve now
    │   └── OutcomeUnknown     … and it cannot be told whether the message was stored
    └── DeadlineExceeded       no answer within the timeout; what became of the request is unknown

Reasons are those of proto/broker/broker.proto, and where a status carries none (it came from a proxy or from gRPC
itself): NOT_CONNECTED, RATE_LIMITED, MESSAGE_TOO_LARGE, or the name of the status code. The client's own are NO_ANSWER,
STREAM_ENDED, ANSWER_MALFORMED (it gave up waiting for an answer, or got none), and CLOSED (the broker was left first).
"""

from collections.abc import Mapping, Sequence
from typing import Self

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "brokercluster.dev"
"""The domain of the broker's ErrorInfo; one of another domain is not ours to read."""

LONGEST_RETRY_AFTER = 30.0
"""Seconds; nobody is left waiting because a server says something odd."""

_DETAILS_KEY = "grpc-status-details-bin"

# How gRPC and Envoy begin the message of a call that never reached a broker. They have no machine-readable form.
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "no healthy upstream", "envoy overloaded")

# Refusals that promise that nothing was stored, so that the same request may be sent again.
_NOTHING_STORED = frozenset({"DRAINING", "STORE_UNAVAILABLE", "NOT_CONNECTED"})


class BrokerError(Exception):
    """A call to the broker failed.

    Attributes:
        reason: UPPER_SNAKE_CASE, for machines.
        message: a sentence for people: what was wrong, and what to do.
        metadata: the field or limit the message speaks of.
        code: the gRPC status code.
        retriable: the same call may succeed later, and repeating it cannot store a message twice.
        retry_after: seconds that the server asks to wait before that; None when it says nothing.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        *,
        retriable: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.code = code
        self.retriable = retriable
        self.retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.reason})"

    def copy(self, *, retriable: bool) -> Self:
        """Return the same error to be raised elsewhere, where repeating the call is safe or not."""
        error = type(self)(self.reason, self.message, self.metadata, self.code, retriable=retriable)
        error.retry_after = self.retry_after
        error.__cause__ = self.__cause__
        return error


class InvalidRequest(BrokerError):
    """The request is wrong and will be wrong again."""


class MessageNotFound(InvalidRequest):
    """No message of the subject has this id, or it has expired."""


class NotAuthorized(BrokerError):
    """The client may not publish, or subscribe, to this subject; who runs the broker can permit it."""


class LimitReached(BrokerError):
    """A limit of the server is reached; nothing was stored, and the same request may succeed later."""


class RateLimited(LimitReached):
    """The load balancer in front of the broker limits the rate of calls; nothing was stored."""


class Unavailable(BrokerError):
    """The server cannot be reached, or cannot serve now."""


class OutcomeUnknown(Unavailable):
    """The connection or the store was lost before an answer came: the message may or may not be stored."""


class DeadlineExceeded(BrokerError):
    """No answer came within the timeout; the message may or may not be stored."""


def from_rpc(error: grpc.aio.AioRpcError, target: str, *, idempotent: bool) -> BrokerError:
    """Return the error that a gRPC status stands for.

    Args:
        error: what grpc raised.
        target: the server's address, for messages.
        idempotent: whether repeating the call does no harm (fetching, subscribing).
    """
    code, text = error.code(), error.details() or ""
    details = _details(error.trailing_metadata())
    info = _error_info(details)
    if info is not None:
        refusal = build(code, info.reason, text, dict(info.metadata), idempotent=idempotent)
        refusal.retry_after = _retry_after(details)
        return refusal
    if code is grpc.StatusCode.UNAVAILABLE and text.startswith(_NEVER_SENT):
        why = text.rpartition("last error: ")[2].removeprefix("UNKNOWN: ")
        return build(code, "NOT_CONNECTED", f"cannot reach a broker at {target}: {why}", idempotent=idempotent)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        advice = "raise max_message_bytes of connect() or the limit of the server"
        return LimitReached("MESSAGE_TOO_LARGE", f"{text}: {advice}", code=code)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        message = f"the rate limit of the load balancer at {target} is reached: send fewer calls, or try again later"
        return RateLimited("RATE_LIMITED", message, {"status": text}, code, retriable=True)
    return build(code, code.name, f"{text or 'no message'} (from {target})", idempotent=idempotent)


def build(
    code: grpc.StatusCode,
    reason: str,
    message: str,
    metadata: Mapping[str, str] | None = None,
    *,
    idempotent: bool = False,
) -> BrokerError:
    """Return the error of the class that fits a status code and a reason."""
    status = grpc.StatusCode
    if reason == "MESSAGE_NOT_FOUND":
        return MessageNotFound(reason, message, metadata, code)
    if code in (status.INVALID_ARGUMENT, status.OUT_OF_RANGE):
        return InvalidRequest(reason, message, metadata, code)
    if code is status.PERMISSION_DENIED:
        return NotAuthorized(reason, message, metadata, code)
    if code is status.RESOURCE_EXHAUSTED:
        return LimitReached(reason, message, metadata, code, retriable=True)
    if code is status.DEADLINE_EXCEEDED:
        return DeadlineExceeded(reason, message, metadata, code, retriable=idempotent)
    if code is status.UNAVAILABLE and (idempotent or reason in _NOTHING_STORED):
        return Unavailable(reason, message, metadata, code, retriable=True)
    # A connection that breaks shows as any of these: Envoy resets a stream with INTERNAL, grpc refuses with CANCELLED.
    if code in (status.UNAVAILABLE, status.INTERNAL, status.CANCELLED, status.UNKNOWN, status.ABORTED):
        lost = Unavailable if idempotent else OutcomeUnknown
        return lost(reason, message, metadata, code, retriable=idempotent)
    return BrokerError(reason, message, metadata, code)


def _error_info(details: Sequence[any_pb2.Any]) -> error_details_pb2.ErrorInfo | None:
    for detail in details:
        info = error_details_pb2.ErrorInfo()
        if _unpacks(detail, info) and info.domain == DOMAIN:
            return info
    return None


def _retry_after(details: Sequence[any_pb2.Any]) -> float | None:
    for detail in details:
        info = error_details_pb2.RetryInfo()
        if _unpacks(detail, info):
            seconds: float = info.retry_delay.ToTimedelta().total_seconds()
            return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
    return None


def _unpacks(detail: any_pb2.Any, message: Message) -> bool:
    try:
        return detail.Unpack(message)
    except DecodeError:
        return False


def _details(trailing: Sequence[tuple[str, str | bytes]] | grpc.aio.Metadata | None) -> Sequence[any_pb2.Any]:
    for key, value in trailing or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                details: Sequence[any_pb2.Any] = status_pb2.Status.FromString(value).details
            except DecodeError:
                continue
            return details
    return ()
