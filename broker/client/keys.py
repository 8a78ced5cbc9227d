"""The keys that make it safe to send a message again."""

import itertools
import os


class Keys:
    """Keys that no other has: 8 random bytes, and a counter of 8."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8)
        self._numbers = itertools.count()

    def next(self) -> bytes:
        """Return a key."""
        return self._prefix + next(self._numbers).to_bytes(8, "big")
