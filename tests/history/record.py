"""Writing a history while it happens."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.history.events import (
    Acknowledged,
    Began,
    Delivered,
    Ended,
    Event,
    Fault,
    Fetched,
    FetchFailed,
    Fetching,
    Healed,
    NotFound,
    Publisher,
    Publishing,
    Refused,
    Resumed,
    Settled,
    Standing,
    Subscribing,
    Unknown,
    line,
)


class Recorder:
    """Gives events their times and numbers, and writes them to a file. For one event loop."""

    def __init__(self, path: Path, seed: str) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._start = time.monotonic()
        self._numbers = 0
        self.events = 0
        """How many were written."""
        self._write(Began(0.0, seed, time.time()))

    def now(self) -> float:
        """Return the seconds since the run began, to the microsecond."""
        return round(time.monotonic() - self._start, 6)

    def number(self) -> int:
        """Return a number that was not given before, from 1."""
        self._numbers += 1
        return self._numbers

    def publisher(self, name: str, how: str, *, ordered: bool) -> None:
        self._write(Publisher(self.now(), name, how, ordered))

    def publishing(self, message: int, publisher: str, subject: str, expires: int, key: str = "") -> int:
        """Note that a publish begins, and return the number of this attempt."""
        op = self.number()
        self._write(Publishing(self.now(), op, message, publisher, subject, expires, key))
        return op

    def acknowledged(self, op: int, message_id: int, duplicate: bool | None) -> None:
        self._write(Acknowledged(self.now(), op, message_id, duplicate))

    def refused(self, op: int, reason: str) -> None:
        self._write(Refused(self.now(), op, reason))

    def unknown(self, op: int, reason: str) -> None:
        self._write(Unknown(self.now(), op, reason))

    def subscribing(self, subject: str, start: str, how: str) -> int:
        """Note that a subscription is asked for, and return its number."""
        number = self.number()
        self._write(Subscribing(self.now(), number, subject, start, how))
        return number

    def standing(self, subscription: int, position: int | None, at: float) -> None:
        self._write(Standing(at, subscription, position))

    def delivered(self, subscription: int, message_id: int, message: int) -> None:
        self._write(Delivered(self.now(), subscription, message_id, message))

    def resumed(self, subscription: int, asked_at: float, reason: str) -> None:
        self._write(Resumed(self.now(), subscription, asked_at, reason))

    def ended(self, subscription: int, reason: str, *, left: bool) -> None:
        self._write(Ended(self.now(), subscription, left, reason))

    def fetching(self, subject: str, message_id: int) -> int:
        """Note that a fetch begins, and return its number."""
        number = self.number()
        self._write(Fetching(self.now(), number, subject, message_id))
        return number

    def fetched(self, fetch: int, message: int) -> None:
        self._write(Fetched(self.now(), fetch, message))

    def not_found(self, fetch: int) -> None:
        self._write(NotFound(self.now(), fetch))

    def fetch_failed(self, fetch: int, reason: str) -> None:
        self._write(FetchFailed(self.now(), fetch, reason))

    def fault(self, kind: str, target: str) -> int:
        """Note that something is being broken, and return the number of the fault."""
        number = self.number()
        self._write(Fault(self.now(), number, kind, target))
        return number

    def healed(self, fault: int) -> None:
        self._write(Healed(self.now(), fault))

    def settled(self) -> None:
        self._write(Settled(self.now()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        self._file.write(line(event) + "\n")
        self.events += 1
