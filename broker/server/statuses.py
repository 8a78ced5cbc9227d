"""The broker's errors as gRPC statuses: a code, a message, and google.rpc.ErrorInfo in the details."""

from functools import lru_cache

from google.protobuf.any_pb2 import Any
from google.rpc.code_pb2 import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from broker.errors import InvalidRequest, LimitReached, Refused, Unavailable
from broker.server.door import Ending

DOMAIN = "brokercluster.dev"
OK = 0

_CODES: dict[type[Refused], int] = {
    InvalidRequest: INVALID_ARGUMENT,
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
    return bytes(Status(code=code_of(error), message=error.message, details=[info]).SerializeToString())


def ended(token: int) -> Ending:
    """Return what ends a stream with OK."""
    return token, OK, "", b"", ()


def ending(token: int, error: Refused) -> Ending:
    """Return what ends a call with an error."""
    return token, code_of(error), error.message, details_of(error), ()
