"""Waiting longer after each failure."""

import random


class Backoff:
    """Exponential backoff with jitter, so that those who wait for the same thing do not come back in step.

    Args:
        first: the bound of the first wait, in seconds; it doubles with each.
        longest: the bound of every wait, in seconds.
    """

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self, at_least: float | None = None) -> float:
        """Return how many seconds to wait after one more failure; see `pause_after`."""
        self._failures += 1
        return pause_after(self._failures, self._first, self._longest, at_least)

    def reset(self) -> None:
        """Start again: it worked."""
        self._failures = 0


def pause_after(failures: int, first: float, longest: float, at_least: float | None = None) -> float:
    """Return how many seconds to wait after so many failures in a row; see `Backoff`.

    What the other side has asked for, `at_least`, comes on top: all whom it has asked at once would come back at once.
    """
    # Bounded before it is computed: 2.0 ** 1024 overflows.
    bound = min(longest, first * 2.0 ** min(failures - 1, 32))
    return (at_least or 0.0) + random.uniform(bound / 2, bound)  # noqa: S311 - not for secrets
