"""How long clients had to wait, overall and while each kind of fault was there."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.history.events import (
    SLOWLY,
    Acknowledged,
    Delivered,
    Ended,
    Event,
    Fault,
    Fetched,
    Fetching,
    Healed,
    NotFound,
    Publishing,
    Refused,
    Standing,
    Subscribing,
    Unknown,
)

ALONE = "no fault"
SEVERAL = "several at once"


WAITS = ("stood still", "published", "delivered", "fetched")
"""What is measured: how long no publish succeeded though at least one was waiting; how long a message took from its
first attempt to its acknowledgement, and from there to one who was listening and makes no pauses; and a fetch."""

_NOTICED = 0.01
"""Seconds; shorter waits are not told apart."""

Longest = dict[str, dict[str, float]]
"""The longest wait of each of WAITS, in seconds, by kind of fault."""


def merge(ours: Longest, theirs: Longest) -> None:
    """Keep the longer of each."""
    for kind, waits in theirs.items():
        kept = ours.setdefault(kind, {})
        for what, seconds in waits.items():
            kept[what] = max(kept.get(what, 0.0), seconds)


@dataclass
class _Struck:
    kind: str
    began: float
    healed: float = float("inf")


@dataclass
class Availability:
    """What a history shows of waiting.

    Attributes:
        longest: for each kind of fault, the waits during which no other was there for a moment; for SEVERAL and ALONE.
        faults: how often each kind struck.
    """

    longest: Longest = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)


def measure(events: Iterable[Event]) -> Availability:
    """Measure a history; what is still waiting at its end does not count."""
    meter = _Meter()
    for event in events:
        meter.take(event)
    return meter.result


class _Meter:
    def __init__(self) -> None:
        self.result = Availability()
        self._struck: dict[int, _Struck] = {}
        self._under_way: dict[int, int] = {}
        """The message of each publish that waits for its answer."""
        self._asked: dict[int, float] = {}
        self._acknowledged: dict[int, float] = {}
        self._idle_since: float | None = None
        self._listening: dict[int, float] = {}
        """Since when each subscription that makes no pauses stands."""
        self._slow: set[int] = set()
        self._fetching: dict[int, float] = {}

    def take(self, event: Event) -> None:
        match event:
            case Publishing():
                self._asked.setdefault(event.message, event.at)
                self._under_way[event.op] = event.message
                self._idle_since = event.at if self._idle_since is None else self._idle_since
            case Acknowledged():
                self._published(event)
            case Refused() | Unknown():
                # Not a success: whoever is waiting, or comes next, still waits for the first.
                self._under_way.pop(event.op)
            case Subscribing() if event.how.startswith(SLOWLY):
                self._slow.add(event.subscription)
            case Standing() if event.subscription not in self._slow:
                self._listening[event.subscription] = event.at
            case Ended():
                self._listening.pop(event.subscription, None)
            case Delivered():
                acknowledged_at = self._acknowledged.get(event.message)
                since = self._listening.get(event.subscription)
                if acknowledged_at is not None and since is not None and since < acknowledged_at:
                    self._note(acknowledged_at, event.at, "delivered")
            case Fetching():
                self._fetching[event.fetch] = event.at
            case Fetched() | NotFound():
                self._note(self._fetching.pop(event.fetch), event.at, "fetched")
            case Fault():
                self._struck[event.number] = _Struck(event.kind, event.at)
                self.result.faults[event.kind] += 1
            case Healed():
                self._struck[event.number].healed = event.at

    def _published(self, event: Acknowledged) -> None:
        message = self._under_way.pop(event.op)
        if message not in self._acknowledged:
            self._acknowledged[message] = event.at
            self._note(self._asked[message], event.at, "published")
        if self._idle_since is not None:
            self._note(self._idle_since, event.at, "stood still")
        self._idle_since = event.at if self._under_way else None

    def _note(self, began: float, ended: float, what: str) -> None:
        if ended - began < _NOTICED:
            return
        there = [one.kind for one in self._struck.values() if began <= one.healed and one.began <= ended]
        kind = ALONE if not there else there[0] if len(there) == 1 else SEVERAL
        merge(self.result.longest, {kind: {what: ended - began}})
