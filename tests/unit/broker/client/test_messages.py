import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2
from broker.client import EARLIEST, LATEST, InvalidRequest, MessageNotFound, after_id, since
from broker.client.messages import fetch_request, from_wire, publish_request, subscribe_request, whole_seconds

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
        lambda: publish_request("\ud800", b"", 0),
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


def test_bodies_are_bytes_or_alike() -> None:
    assert publish_request("s", bytearray(b"x"), 0).body == b"x"
    with pytest.raises(TypeError):
        publish_request("s", "x", 0)  # type: ignore[arg-type]
