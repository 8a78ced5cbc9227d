"""An event loop whose clock jumps to the next timer: hours pass in no time, and always the same way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock on."""

    advance: Callable[[float], None] = staticmethod(lambda _: None)

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.advance(timeout)
        elif not ready and timeout is None:
            return super().select(None)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s; for code that waits for timers and tasks only, not for the network."""

    def __init__(self) -> None:
        selector = _Jumping()
        self._now = 0.0
        selector.advance = self._advance
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _advance(self, seconds: float) -> None:
        # A hair more than asked: sums of floats must not end short of the timer.
        self._now += seconds + 1e-9


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
