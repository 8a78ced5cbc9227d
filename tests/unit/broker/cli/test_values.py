import argparse
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cli import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("30s", 30),
        ("10m", 600),
        ("1h", 3600),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1 h", "1hour", "1h x", "999999999999d", "٣s1"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        values.duration(text)


def test_a_timeout_is_more_than_nothing() -> None:
    assert values.timeout("1s") == timedelta(seconds=1)
    with pytest.raises(argparse.ArgumentTypeError):
        values.timeout("0s")


def test_starts() -> None:
    assert values.start("latest") == ("latest", None)
    assert values.start("earliest") == ("earliest", None)
    assert values.start("after=0") == ("after", 0)
    assert values.start("since=2026-03-01T09:30:00Z") == ("since", datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
    assert values.start("since=2026-03-01T09:30:00+02:00") == ("since", datetime(2026, 3, 1, 7, 30, tzinfo=UTC))


@pytest.mark.parametrize("text", ["10m ago", "10mago", "since=10m ago"])
def test_a_start_some_time_ago(text: str) -> None:
    before = datetime.now(UTC)
    kind, time = values.start(text)
    assert kind == "since"
    assert isinstance(time, datetime)
    assert before <= time + timedelta(minutes=10) <= datetime.now(UTC)


def test_a_time_without_a_zone_is_local() -> None:
    assert values.moment("2026-03-01T09:30") == datetime(2026, 3, 1, 9, 30).astimezone(UTC)


@pytest.mark.parametrize("text", ["", "now", "after", "after=", "after=-1", "after=x", "since", "since=", "ago", "7d"])
def test_what_is_no_start(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        values.start(text)


@given(st.text())
def test_nothing_typed_is_a_crash(text: str) -> None:
    for read in (values.duration, values.start, values.moment, values.address, values.positive):
        try:
            read(text)
        except argparse.ArgumentTypeError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:50051", ("127.0.0.1", 50051)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert values.address(text) == address


@pytest.mark.parametrize("text", ["", ":", "50051", ":50051", "localhost", "localhost:", "localhost:65536", "a:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        values.address(text)


@pytest.mark.parametrize(
    ("text", "header"),
    [("kind=new", ("kind", b"new")), ("a=", ("a", b"")), ("a=b=c", ("a", b"b=c")), ("a=\udcff", ("a", b"\xff"))],
)
def test_headers(text: str, header: tuple[str, bytes]) -> None:
    assert values.header(text) == header


@pytest.mark.parametrize("text", ["", "kind", "=new"])
def test_what_is_no_header(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=VALUE"):
        values.header(text)
