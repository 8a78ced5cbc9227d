import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2
from broker.client import EARLIEST, LATEST, InvalidRequest, MessageNotFound, after_id, since
from broker.client.messages import (
    DuplicateId,
    MessageId,
    fetch_request,
    from_wire,
    key_bytes,
    publish_part,
    subscribe_request,
    whole_seconds,
)

INT32_MAX = 2**31 - 1


@given(st.floats(-INT32_MAX, INT32_MAX))
def test_only_zero_is_fire_and_forget_and_none_is_kept_shorter(seconds: float) -> None:
    whole = whole_seconds(seconds)
    assert (whole == 0) == (seconds == 0)
    assert abs(seconds) <= abs(whole)
    assert abs(whole) - 1 < abs(seconds) or whole == 0
    assert math.copysign(1, whole) == math.copysign(1, seconds) or whole == 0


@given(st.integers(0, INT32_MAX))
def test_whole_seconds_stay(seconds: int) -> None:
    assert whole_seconds(seconds) == whole_seconds(timedelta(seconds=seconds)) == seconds


@pytest.mark.parametrize("expires", [INT32_MAX + 1, timedelta.max, math.inf, -math.inf, math.nan])
def test_what_the_wire_cannot_say(expires: float) -> None:
    with pytest.raises(InvalidRequest) as raised:
        whole_seconds(expires)
    assert raised.value.reason == "EXPIRATION_TOO_LONG"


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_keep_their_microseconds(time: datetime) -> None:
    request = subscribe_request("s", since(time))
    message = broker_pb2.Message(subject="s", id=1, published_at=request.since)
    assert from_wire(message).published_at == time


def test_starts() -> None:
    assert subscribe_request("s", LATEST).WhichOneof("start") is None
    assert subscribe_request("s", EARLIEST).earliest
    assert subscribe_request("s", after_id(0)).WhichOneof("start") == "after_id"
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert subscribe_request("s", since(noon)).since.ToDatetime(UTC) == noon
    with pytest.raises(ValueError, match="no timezone"):
        since(datetime(2026, 3, 1))  # noqa: DTZ001 - that is what is refused


def test_what_protobuf_cannot_hold_is_the_callers_error() -> None:
    for request in (
        lambda: publish_part("\ud800", b"", 0),
        lambda: subscribe_request("\ud800", LATEST),
        lambda: fetch_request("\ud800", 1),
    ):
        with pytest.raises(InvalidRequest) as raised:
            request()
        assert raised.value.reason == "SUBJECT_INVALID"
    with pytest.raises(MessageNotFound):
        fetch_request("s", 2**63)
    with pytest.raises(InvalidRequest) as raised:
        subscribe_request("s", after_id(2**63))
    assert raised.value.reason == "START_INVALID"


def request(part: bytes) -> broker_pb2.PublishRequest:
    (message,) = broker_pb2.PublishBatchRequest.FromString(part).messages
    return message


def test_bodies_are_bytes_or_alike() -> None:
    assert request(publish_part("s", bytearray(b"x"), 0)).body == b"x"
    with pytest.raises(TypeError):
        publish_part("s", "x", 0)  # type: ignore[arg-type]


def test_parts_one_after_the_other_are_one_request() -> None:
    parts = [
        publish_part("a", b"1", 0),
        publish_part("b", b"", 2.5, b"key", {"name": b"\xff", "ü": b""}),
        publish_part("a", bytes(70_000), 60),
    ]
    first, second, third = broker_pb2.PublishBatchRequest.FromString(b"".join(parts)).messages
    assert (first.subject, first.body, first.message_key, dict(first.headers)) == ("a", b"1", b"", {})
    assert (second.subject, second.expirationSeconds, second.message_key) == ("b", 3, b"key")
    assert dict(second.headers) == {"name": b"\xff", "ü": b""}
    assert third.body == bytes(70_000)


def test_headers_that_the_wire_has_no_form_for() -> None:
    with pytest.raises(InvalidRequest, match="the name of a header is not text"):
        publish_part("s", b"", 0, headers={"\ud800": b""})
    with pytest.raises(TypeError):
        publish_part("s", b"", 0, headers={"name": "text"})  # type: ignore[dict-item]


def test_keys_are_text_or_bytes() -> None:
    assert key_bytes("ü") == "ü".encode()
    assert key_bytes(bytearray(b"\xff")) == b"\xff"
    with pytest.raises(ValueError, match="at least one byte"):
        key_bytes("")
    with pytest.raises(InvalidRequest):
        key_bytes("\ud800")
    with pytest.raises(TypeError):
        key_bytes(5)  # type: ignore[arg-type]


def test_a_message_without_headers_has_none() -> None:
    assert from_wire(broker_pb2.Message(subject="s", id=1)).headers == {}
    assert from_wire(broker_pb2.Message(subject="s", id=1, headers={"a": b"b"})).headers == {"a": b"b"}
    assert len({from_wire(broker_pb2.Message(id=1, headers={"a": b"b"}))}) == 1, "messages can be hashed"


def test_an_id_is_a_number_that_knows_whether_it_is_a_duplicate() -> None:
    assert (MessageId(7), MessageId(7).duplicate) == (7, False)
    assert (DuplicateId(7), DuplicateId(7).duplicate, f"{DuplicateId(7)}") == (7, True, "7")
