"""The broker's errors as gRPC statuses: a code, a message, and google.rpc.ErrorInfo and RetryInfo in the details."""

from functools import lru_cache

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, Code
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from broker.errors import InvalidRequest, LimitReached, NotAuthorized, Refused, Unavailable
from broker.server.door import Ending, Trailers

DOMAIN = "brokercluster.dev"
OK = 0
ELSEWHERE: Trailers = (("x-broker-retry", "elsewhere"),)
"""Tells the proxy in front that nothing was done, so that another broker may be asked, whatever the call."""

UNEXPECTED = Unavailable("UNEXPECTED", "the server failed; its log has the cause")

_CODES: dict[type[Refused], int] = {
    InvalidRequest: INVALID_ARGUMENT,
    NotAuthorized: PERMISSION_DENIED,
    LimitReached: RESOURCE_EXHAUSTED,
    Unavailable: UNAVAILABLE,
}


def code_of(error: Refused) -> int:
    """Return the status code of an error: never INTERNAL or UNKNOWN, which a proxy counts against the server."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    raise TypeError(f"{type(error).__name__} has no status")


@lru_cache(maxsize=64)
def code_name(code: int) -> str:
    """Return e.g. "INVALID_ARGUMENT"."""
    return str(Code.Name(code))


def details_of(error: Refused) -> bytes:
    """Return the serialized google.rpc.Status that travels in the grpc-status-details-bin trailer."""
    info = Any()
    info.Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
    details = [info] if error.retry_after is None else [info, _retry_info(error.retry_after)]
    return bytes(Status(code=code_of(error), message=error.message, details=details).SerializeToString())


@lru_cache(maxsize=64)
def _retry_info(seconds: float) -> Any:
    info = Any()
    info.Pack(RetryInfo(retry_delay=duration(seconds)))
    return info


@lru_cache(maxsize=64)
def duration(seconds: float) -> Duration:
    """Return a google.protobuf.Duration, not to be changed."""
    made = Duration()
    made.FromNanoseconds(round(seconds * 1e9))
    return made


def _trailers(error: Refused) -> Trailers:
    """Tell gRPC's own retries, where a client has set them up, when to come back (gRFC A6)."""
    if error.retry_after is None:
        return ()
    return (("grpc-retry-pushback-ms", str(round(error.retry_after * 1000))),)


def ended(token: int) -> Ending:
    """Return what ends a stream with OK."""
    return token, OK, "", b"", ()


def ending(token: int, error: Refused) -> Ending:
    """Return what ends a call with an error."""
    return token, code_of(error), error.message, details_of(error), _trailers(error)


def elsewhere(token: int, error: Refused) -> Ending:
    """Return what refuses a call of which nothing was done, and which another broker may serve."""
    _, code, message, details, trailers = ending(token, error)
    return token, code, message, details, (*trailers, *ELSEWHERE)
