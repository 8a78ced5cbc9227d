"""How long publishing stood still, overall and while each kind of fault was there."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.history.events import Acknowledged, Event, Fault, Healed, Publishing, Refused, Unknown


@dataclass
class Availability:
    """Times in seconds.

    Attributes:
        longest: in which no publish succeeded though at least one was waiting.
        by_fault: the same for each kind of fault, of all spans in which it was there for a moment.
        waited: the longest that a single publish took to succeed, from its first attempt, by kind of fault.
        faults: how often each kind struck.
    """

    longest: float = 0.0
    by_fault: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)


@dataclass
class _Struck:
    kind: str
    began: float
    healed: float = float("inf")


def measure(events: Iterable[Event]) -> Availability:
    """Measure a history. A span or a wait counts for a fault when it began before the fault was healed, and ended
    after it began; what comes after the last publish does not count."""
    result = Availability()
    waiting: dict[int, float] = {}
    """Publishes under way, and since when their message was asked for."""
    first_asked: dict[int, float] = {}
    messages: dict[int, int] = {}
    idle_since: float | None = None
    faults: dict[int, _Struck] = {}
    for event in events:
        match event:
            case Publishing():
                asked_at = first_asked.setdefault(event.message, event.at)
                messages[event.op] = event.message
                waiting[event.op] = asked_at
                idle_since = event.at if idle_since is None else idle_since
            case Acknowledged():
                began = waiting.pop(event.op)
                first_asked.pop(messages.pop(event.op), None)
                if idle_since is not None:
                    result.longest = max(result.longest, event.at - idle_since)
                    _note(result.by_fault, faults, idle_since, event.at)
                _note(result.waited, faults, began, event.at)
                idle_since = event.at if waiting else None
            case Refused() | Unknown():
                # Not a success: whoever is waiting, or comes next, still waits for the first.
                waiting.pop(event.op)
                messages.pop(event.op)
            case Fault():
                faults[event.number] = _Struck(event.kind, event.at)
                result.faults[event.kind] += 1
            case Healed():
                faults[event.number].healed = event.at
    return result


def _note(longest: dict[str, float], faults: dict[int, _Struck], began: float, ended: float) -> None:
    for fault in faults.values():
        if began <= fault.healed and fault.began <= ended:
            longest[fault.kind] = max(longest.get(fault.kind, 0.0), ended - began)
