"""What a history can show of a broken promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.history.events import Event


class Kind(StrEnum):
    """Which promise is broken."""

    LOST = "lost"
    """A subscriber went past a stored message, or never came to it."""
    REPEATED = "repeated"
    """A subscription got an id twice."""
    DISORDERED = "disordered"
    """A subscription got a lower id after a higher one."""
    EARLY = "early"
    """A subscription got what came before its start."""
    FOREIGN = "foreign"
    """A subscriber or fetcher got what nobody had published there."""
    RISEN = "risen"
    """What was refused, and so never stored, was delivered or fetched."""
    DOUBLED = "doubled"
    """One message, or several attempts with one key, have two ids."""
    ID_REUSED = "id reused"
    """Two messages have one id."""
    ID_HOLE = "id hole"
    """An id belongs to no message."""
    COMMIT_ORDER = "commit order"
    """A message has a lower id than one that was there before it was published."""
    PUBLISHER_ORDER = "publisher order"
    """An ordered publisher's messages have ids in another order than its calls."""
    VANISHED = "vanished"
    """An acknowledged message cannot be fetched before its expiry."""
    UNDEAD = "undead"
    """A message was fetched, or replayed, after its expiry, or though it was never stored."""
    BROKEN_OFF = "broken off"
    """A subscription ended by itself, or never stood."""


@dataclass(frozen=True)
class Violation:
    """One broken promise, with the events that show it."""

    kind: Kind
    subject: str
    text: str
    evidence: Sequence[Event] = ()

    def __str__(self) -> str:
        shown = "".join(f"\n    {event}" for event in self.evidence)
        return f"{self.kind} on {self.subject}: {self.text}{shown}"
