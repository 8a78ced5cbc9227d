"""What happened during a run, as plain records: one JSON line each, so that a run can be checked again later.

Times are seconds since the run began, of one machine's clock that never goes back. What a client did is two events: it
asked, and how that ended: done, refused (nothing was changed), or unknown (it may have been done or not, or later).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOT_OURS = 0
"""Stands for the message when a body is not exactly one that was published to this subject."""


SLOWLY = "slowly"
"""How a subscription begins to say how it listens, when it pauses after messages."""


class Began(NamedTuple):
    """The run began; `wall` is the Unix time then."""

    at: float
    seed: str
    wall: float


class Publisher(NamedTuple):
    """A publisher appears. `ordered`: it promises that its messages get their ids in the order of its calls."""

    at: float
    name: str
    how: str
    ordered: bool


class Publishing(NamedTuple):
    """A publish is asked for. Several with one `message` are attempts at the same message, which has a key then."""

    at: float
    op: int
    message: int
    publisher: str
    subject: str
    expires: int
    """Seconds; 0 is fire and forget."""
    key: str


class Acknowledged(NamedTuple):
    """It is published. `duplicate` is None where the client does not tell."""

    at: float
    op: int
    id: int
    duplicate: bool | None


class Refused(NamedTuple):
    """It is not published and never will be."""

    at: float
    op: int
    reason: str


class Unknown(NamedTuple):
    """Nobody knows whether it is published, or will be."""

    at: float
    op: int
    reason: str


class Subscribing(NamedTuple):
    """A subscription is asked for. `start` is "latest", "earliest" or "after N"."""

    at: float
    subscription: int
    subject: str
    start: str
    how: str


class Standing(NamedTuple):
    """It stands; `position` is the subject's last id at that moment, where the server told it."""

    at: float
    subscription: int
    position: int | None


class Delivered(NamedTuple):
    """A subscriber got a message."""

    at: float
    subscription: int
    id: int
    message: int


class Resumed(NamedTuple):
    """A subscription stands again after its connection was lost; it asked for that at `asked_at` or later."""

    at: float
    subscription: int
    asked_at: float
    reason: str


class Ended(NamedTuple):
    """A subscription is no more: the subscriber `left` it, or it broke for a reason that reconnecting does not cure."""

    at: float
    subscription: int
    left: bool
    reason: str


class Fetching(NamedTuple):
    """A fetch is asked for."""

    at: float
    fetch: int
    subject: str
    id: int


class Fetched(NamedTuple):
    """It gave a message."""

    at: float
    fetch: int
    message: int


class NotFound(NamedTuple):
    """There is no such message (any more)."""

    at: float
    fetch: int


class FetchFailed(NamedTuple):
    """It was not answered."""

    at: float
    fetch: int
    reason: str


class Fault(NamedTuple):
    """The nemesis broke something."""

    at: float
    number: int
    kind: str
    target: str


class Healed(NamedTuple):
    """It is whole again."""

    at: float
    number: int


class Settled(NamedTuple):
    """All is whole, nobody publishes any more, and every subscriber had its time to catch up: the run is over."""

    at: float


Event = (
    Began
    | Publisher
    | Publishing
    | Acknowledged
    | Refused
    | Unknown
    | Subscribing
    | Standing
    | Delivered
    | Resumed
    | Ended
    | Fetching
    | Fetched
    | NotFound
    | FetchFailed
    | Fault
    | Healed
    | Settled
)

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in Event.__args__}


def line(event: Event) -> str:
    """Return an event as one line of JSON: its kind and its fields, in their order."""
    return json.dumps([type(event).__name__, *event], separators=(",", ":"))


def parse(text: str) -> Event:
    """Return the event of a line.

    Raises:
        ValueError: it is none.
    """
    try:
        kind, *fields = json.loads(text)
        return _KINDS[kind](*fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not an event of a history: {text[:200]!r} ({error})") from None


def read(path: Path) -> Iterator[Event]:
    """Yield the events of a file."""
    with path.open(encoding="utf-8") as file:
        for text in file:
            yield parse(text)
