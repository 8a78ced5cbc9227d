"""One subscriber of one subject: where it stands, and how it comes back to the live flow after it fell behind."""

import enum
from dataclasses import dataclass
from typing import Literal

from broker.engine.outlet import Framing


@dataclass(frozen=True, slots=True)
class Start:
    """Where a subscription begins."""

    at: Literal["latest", "earliest", "after", "since"]
    value: int = 0
    """The id ("after") or the time in ms ("since")."""


LATEST = Start("latest")
EARLIEST = Start("earliest")


FIRST_PIECE, LARGEST_PIECE = 8 << 10, 256 << 10
"""Bytes: what a subscription is handed at once begins small and doubles while its queue takes it. So thousands that
never read anything take little."""


def larger(piece: int) -> int:
    """Return how much may follow a piece that was taken."""
    return min(2 * piece, LARGEST_PIECE)


class State(enum.Enum):
    """How a subscription gets its messages."""

    LIVE = enum.auto()
    """From each commit as it happens. It has had everything up to its channel's head."""
    CATCHING_UP = enum.auto()
    """A task reads what it lacks."""
    BLOCKED = enum.auto()
    """It lags and its queue is full: nothing happens until it is writable."""
    AHEAD = enum.auto()
    """It read from the store what the live flow has yet to bring; it joins when that comes."""
    ENDED = enum.auto()


@dataclass(slots=True, eq=False)
class Subscription:
    """A subscriber, named by the token its carrier chose."""

    token: int
    subject: str
    start: Start
    framing: Framing
    state: State = State.CATCHING_UP
    cursor: int = 0
    """Everything up to this id was handed over or skipped; kept while the state is not LIVE."""
    stood_after: int = 0
    """The last id when it subscribed: fire-and-forget messages above it are still its due."""
    opened: bool = False
    piece: int = FIRST_PIECE
    """Bytes that it is handed at once while it catches up."""
