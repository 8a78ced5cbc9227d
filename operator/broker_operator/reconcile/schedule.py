"""When the next pass of one object is due. Pure: time comes in as an argument, in seconds of a monotonic clock."""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import StrEnum


class Result(StrEnum):
    """How a pass ended."""

    SYNCED = "synced"
    """Everything stands as it should, or the cluster is working on it: wait for news."""
    INVALID = "invalid"
    """The user has to change something: wait for news, trying again cannot help."""
    PAUSED = "paused"
    """The user asked for hands off."""
    FAILED = "failed"
    """Something that may work later: back off and try again."""
    GONE = "gone"
    """The object no longer exists: there is nothing to do, ever."""


@dataclass(frozen=True)
class Outcome:
    """What a pass reports. Times are in seconds; 0 is no wish."""

    result: Result
    retry_after: float = 0.0
    """How long the API server asked to wait after a failure."""
    look_again: float = 0.0
    """After what time at the latest to look again, because something may change of which no event tells."""


@dataclass(frozen=True)
class Pace:
    """How often passes run, all in seconds."""

    resync: float = 300.0
    resync_spread: float = 0.2
    debounce: float = 0.1
    backoff_first: float = 1.0
    backoff_limit: float = 300.0


@dataclass
class Backoff:
    """Exponential, with jitter downwards by up to a half, so that what failed together does not retry together."""

    first: float
    limit: float
    _failures: int = 0

    def next(self) -> float:
        """The delay after one more failure in a row, in seconds."""
        ceiling = min(self.limit, self.first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return float(ceiling * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def reset(self) -> None:
        """Forget the failures."""
        self._failures = 0


@dataclass
class Schedule:
    """The clockwork of one object.

    A wake-up is never lost: one that comes during a pass makes another pass. While backing off after a failure, only
    a new version of the object itself is a reason to hurry: the failing pass may cause wake-ups of its own.
    """

    pace: Pace
    due: float
    _version: Hashable = None
    _running: bool = False
    _woken: bool = False
    _backing_off: bool = False
    _backoff: Backoff = field(init=False)

    def __post_init__(self) -> None:
        self._backoff = Backoff(self.pace.backoff_first, self.pace.backoff_limit)

    def wake(self, now: float, version: Hashable = None) -> None:
        """Something changed. `version` names the object's own state; None: it was something else."""
        if version is not None and version != self._version:
            self._version = version
            self._backoff.reset()
            self._backing_off = False
        if self._running:
            self._woken = True
        elif not self._backing_off:
            self.due = min(self.due, now + self.pace.debounce)

    def start(self) -> None:
        """A pass begins: what is woken from here on may have been missed by it."""
        self._running, self._woken = True, False
        self._backing_off = True  # cleared by a new version or by the pass's success

    def finish(self, now: float, outcome: Outcome) -> None:
        """A pass ended."""
        self._running = False
        if outcome.result is Result.FAILED:
            delay = self._after_failure(outcome.retry_after)
        else:
            self._backoff.reset()
            self._backing_off = False
            delay = self.pace.debounce if self._woken else self._resync(outcome.look_again)
        self.due = now + delay

    @property
    def woken(self) -> bool:
        """Whether something changed since the last pass began."""
        return self._woken

    def _after_failure(self, retry_after: float) -> float:
        if not self._backing_off:  # a new version came during the pass: it deserves a try of its own
            return max(self.pace.debounce, retry_after)
        return max(self._backoff.next(), retry_after)

    def _resync(self, look_again: float) -> float:
        spread = self.pace.resync_spread
        period = min(look_again or self.pace.resync, self.pace.resync)
        return period * random.uniform(1 - spread, 1 + spread)  # noqa: S311 - jitter, not a secret
