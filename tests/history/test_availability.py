"""How long clients waited."""

from tests.history.availability import ALONE, SEVERAL, measure
from tests.history.events import (
    Acknowledged,
    Delivered,
    Event,
    Fault,
    Fetched,
    Fetching,
    Healed,
    Publishing,
    Refused,
    Standing,
    Subscribing,
)


def publish(at: float, op: int, answered_at: float) -> list[Event]:
    return [Publishing(at, op, op, "p", "a", 0, ""), Acknowledged(answered_at, op, op, False)]


def test_a_publish_that_waits_while_others_succeed_is_no_standstill() -> None:
    events: list[Event] = [
        Publishing(1.0, 1, 1, "p", "a", 0, ""),
        *publish(2.0, 2, 2.5),
        *publish(3.0, 3, 3.5),
        Acknowledged(5.0, 1, 3, False),
    ]
    assert measure(events).longest == {ALONE: {"stood still": 1.5, "published": 4.0}}


def test_nobody_waiting_is_no_standstill() -> None:
    assert measure([*publish(1.0, 1, 1.5), *publish(9.0, 2, 9.5)]).longest[ALONE]["stood still"] == 0.5


def test_a_refusal_ends_no_standstill() -> None:
    events: list[Event] = [
        Publishing(1.0, 1, 1, "p", "a", 0, ""),
        Refused(2.0, 1, "STORE_UNAVAILABLE"),
        *publish(3.0, 2, 4.0),
    ]
    assert measure(events).longest[ALONE]["stood still"] == 3.0


def test_waits_belong_to_the_fault_that_was_there_alone() -> None:
    events: list[Event] = [
        *publish(0.5, 1, 1.0),
        Fault(2.0, 10, "kill a broker", "broker-0"),
        *publish(2.5, 2, 4.5),
        Healed(5.0, 10),
        Fault(6.0, 11, "kill a broker", "broker-1"),
        Fault(6.0, 12, "pause an Envoy", "envoy-0"),
        *publish(6.5, 3, 9.5),
        Healed(10.0, 11),
        Healed(10.0, 12),
    ]
    measured = measure(events)
    assert {kind: waits["published"] for kind, waits in measured.longest.items()} == {
        ALONE: 0.5,
        "kill a broker": 2.0,
        SEVERAL: 3.0,
    }
    assert measured.faults == {"kill a broker": 2, "pause an Envoy": 1}


def test_a_delivery_counts_for_those_who_listened_and_make_no_pauses() -> None:
    events: list[Event] = [
        Subscribing(0.0, 20, "a", "latest", "client"),
        Standing(0.1, 20, None),
        Subscribing(0.0, 21, "a", "latest", "slowly client"),
        Standing(0.1, 21, None),
        *publish(1.0, 1, 1.5),
        Subscribing(2.0, 22, "a", "earliest", "client"),
        Standing(2.1, 22, None),
        Delivered(3.5, 20, 1, 1),
        Delivered(8.0, 21, 1, 1),
        Delivered(9.0, 22, 1, 1),
    ]
    assert measure(events).longest[ALONE]["delivered"] == 2.0


def test_fetches() -> None:
    assert measure([Fetching(1.0, 1, "a", 1), Fetched(1.25, 1, 1)]).longest == {ALONE: {"fetched": 0.25}}
