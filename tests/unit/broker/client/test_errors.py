import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

from broker.client import (
    BrokerError,
    DeadlineExceeded,
    InvalidRequest,
    LimitReached,
    MessageNotFound,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from broker.client.errors import from_rpc

Code = grpc.StatusCode


def failure(
    code: grpc.StatusCode, text: str = "", details: status_pb2.Status | bytes | None = None
) -> grpc.aio.AioRpcError:
    data = details.SerializeToString() if isinstance(details, status_pb2.Status) else details
    trailing = grpc.aio.Metadata() if data is None else grpc.aio.Metadata(("grpc-status-details-bin", data))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, text)


def details(reason: str, domain: str = "brokercluster.dev", **metadata: str) -> status_pb2.Status:
    packed = Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    return status_pb2.Status(details=[packed])


def error(raised: grpc.aio.AioRpcError, *, idempotent: bool = False) -> BrokerError:
    return from_rpc(raised, "broker:50051", idempotent=idempotent)


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retriable"),
    [
        (Code.INVALID_ARGUMENT, "BODY_TOO_LARGE", InvalidRequest, False),
        (Code.INVALID_ARGUMENT, "MESSAGE_NOT_FOUND", MessageNotFound, False),
        (Code.RESOURCE_EXHAUSTED, "STORE_FULL", LimitReached, True),
        (Code.UNAVAILABLE, "DRAINING", Unavailable, True),
        (Code.UNAVAILABLE, "STORE_UNAVAILABLE", Unavailable, True),
        (Code.UNAVAILABLE, "OUTCOME_UNKNOWN", OutcomeUnknown, False),
        (Code.UNIMPLEMENTED, "ANYTHING", BrokerError, False),
    ],
)
def test_the_brokers_reasons(code: grpc.StatusCode, reason: str, kind: type[BrokerError], retriable: bool) -> None:
    found = error(failure(code, "what to do", details(reason, field="body")))
    assert type(found) is kind
    assert (found.reason, found.message, found.code) == (reason, "what to do", code)
    assert found.metadata == {"field": "body"}
    assert found.retriable is retriable
    assert str(found) == f"what to do ({reason})"


@pytest.mark.parametrize(("asked", "seconds"), [(0.25, 0.25), (0, 0), (-1, 0), (1e6, 30)])
def test_when_the_broker_asks_to_come_back(asked: float, seconds: float) -> None:
    status, retry = details("STORE_UNAVAILABLE"), error_details_pb2.RetryInfo()
    retry.retry_delay.FromNanoseconds(round(asked * 1e9))
    status.details.add().Pack(retry)
    found = error(failure(Code.UNAVAILABLE, "what to do", status))
    assert found.retry_after == seconds
    assert found.copy(retriable=True).retry_after == seconds
    assert error(failure(Code.UNAVAILABLE, "what to do", details("DRAINING"))).retry_after is None


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL, Code.CANCELLED, Code.UNKNOWN])
def test_a_lost_connection_leaves_a_publish_in_doubt(code: grpc.StatusCode) -> None:
    found = error(failure(code, "Socket closed"))
    assert type(found) is OutcomeUnknown
    assert not found.retriable
    assert "broker:50051" in found.message


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.INTERNAL, Code.CANCELLED, Code.UNKNOWN])
def test_a_lost_connection_is_no_doubt_to_a_reader(code: grpc.StatusCode) -> None:
    found = error(failure(code, "Socket closed"), idempotent=True)
    assert type(found) is Unavailable
    assert found.retriable


@pytest.mark.parametrize(
    "text",
    [
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:50051: Connection refused",
        "DNS resolution failed for broker:50051",
        "no healthy upstream",
    ],
)
def test_what_was_never_sent_may_be_repeated(text: str) -> None:
    found = error(failure(Code.UNAVAILABLE, text))
    assert type(found) is Unavailable
    assert found.reason == "NOT_CONNECTED"
    assert found.retriable


def test_the_rate_limit_of_the_proxy() -> None:
    found = error(failure(Code.RESOURCE_EXHAUSTED, "local_rate_limited"))
    assert type(found) is RateLimited
    assert found.reason == "RATE_LIMITED"
    assert found.retriable
    assert "rate limit" in found.message


@pytest.mark.parametrize(
    ("hints", "wait"),
    [
        ({"x-ratelimit-reset": "7", "grpc-retry-pushback-ms": "1000"}, 7.0),
        ({"x-ratelimit-reset": "0", "grpc-retry-pushback-ms": "1000"}, 1.0),
        ({"x-ratelimit-reset": "3600"}, 30.0),
        ({"x-ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_the_proxy_says_how_long_to_wait(hints: dict[str, str], wait: float | None) -> None:
    told = grpc.aio.Metadata(*hints.items())
    refused = grpc.aio.AioRpcError(Code.RESOURCE_EXHAUSTED, told, grpc.aio.Metadata(), "local_rate_limited")
    assert error(refused).retry_after == wait


def test_a_frame_too_large_for_grpc_is_not_a_rate_limit() -> None:
    found = error(failure(Code.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (9 vs. 4)"))
    assert type(found) is LimitReached
    assert found.reason == "MESSAGE_TOO_LARGE"
    assert not found.retriable


def test_a_deadline() -> None:
    assert not error(failure(Code.DEADLINE_EXCEEDED)).retriable
    found = error(failure(Code.DEADLINE_EXCEEDED), idempotent=True)
    assert type(found) is DeadlineExceeded
    assert found.retriable


@pytest.mark.parametrize(
    "strange", [b"\xff\xff", b"", details("DRAINING", domain="elsewhere"), status_pb2.Status(details=[Any()])]
)
def test_details_of_others_are_left_alone(strange: status_pb2.Status | bytes) -> None:
    assert error(failure(Code.UNAVAILABLE, "x", strange)).reason == "UNAVAILABLE"
