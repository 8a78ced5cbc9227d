"""Waiting longer after each failure."""

import random


class Backoff:
    """Exponential backoff with jitter, so that many clients of one server do not come back in step.

    Args:
        first: the bound of the first wait, in seconds; it doubles with each.
        longest: the bound of every wait, in seconds.
    """

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def next(self) -> float:
        """Return how many seconds to wait after one more failure."""
        # Bounded before it is computed: 2.0 ** 1024 overflows.
        bound = min(self._longest, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return random.uniform(bound / 2, bound)  # noqa: S311 - not for secrets

    def reset(self) -> None:
        """Start again: it worked."""
        self._failures = 0
