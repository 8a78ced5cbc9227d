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
    delay = Duration()
    delay.FromNanoseconds(round(seconds * 1e9))
    info = Any()
    info.Pack(RetryInfo(retry_delay=delay))
    return info


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
