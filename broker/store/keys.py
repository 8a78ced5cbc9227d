"""The keys of messages in memory: found by subject and key, forgotten in the order of their times."""

import heapq
from collections.abc import Collection, Mapping, Sequence

from broker.store.contract import NO_DUPLICATES

KEY_OVERHEAD = 224
"""Bytes counted for a key beside itself, at worst: its entry in the table, its number, its place in a run."""

RUN_OVERHEAD = 208
"""Bytes counted for keys that are remembered together."""

_ID_BITS = 63
_ID_MASK = (1 << _ID_BITS) - 1

_Run = tuple[int, tuple[bytes, ...]]
"""The keys that were remembered together: until when, and their names in the table."""


def size_of(sizes: Sequence[int]) -> int:
    """Return the bytes counted for keys of these sizes that are remembered together; 0 for none."""
    return RUN_OVERHEAD + KEY_OVERHEAD * len(sizes) + sum(sizes) if sizes else 0


class Keys:
    """What is remembered of keys.

    One flat table, and one integer for id and time: a key takes half of what tables by subject and tuples would take.
    """

    def __init__(self) -> None:
        self.bytes = 0
        """What all of them are counted with."""
        self._known: dict[bytes, int] = {}
        self._runs: list[_Run] = []

    def find(self, subject: int, keys: Sequence[bytes], now: int) -> Mapping[int, int]:
        """Return the places of keys that came before and still count, with the ids of their messages."""
        prefix = _prefix(subject)
        names = [prefix + key for key in keys]
        if self._known.keys().isdisjoint(names):
            return NO_DUPLICATES
        known = [self._known.get(name, 0) for name in names]
        return {place: value & _ID_MASK for place, value in enumerate(known) if value >> _ID_BITS > now}

    def add(self, subject: int, keys: Sequence[bytes], first_id: int, until: int) -> None:
        """Remember the keys of messages that have the ids from `first_id` on; empty ones are none."""
        prefix, time = _prefix(subject), until << _ID_BITS
        new = {prefix + key: time | message_id for message_id, key in enumerate(keys, first_id) if key}
        if not new:
            return
        self._known.update(new)
        heapq.heappush(self._runs, (until, tuple(new)))
        self.bytes += _size_of_names(new)

    def forget_due(self, now: int, limit: int) -> int:
        """Forget keys that are due, about `limit` of them, and return how many bytes they were counted with."""
        before = self.bytes
        while limit > 0 and self._runs and self._runs[0][0] <= now:
            limit -= self.forget_next()
        return before - self.bytes

    def forget_next(self) -> int:
        """Forget those that are due first, due or not, and return how many; there are some."""
        until, names = heapq.heappop(self._runs)
        self.bytes -= _size_of_names(names)
        for name in names:
            # A key that came again after its time has a later one.
            if self._known.get(name, 0) >> _ID_BITS == until:
                del self._known[name]
        return len(names)


_PREFIX_BYTES = 8


def _size_of_names(names: Collection[bytes]) -> int:
    return size_of([len(name) - _PREFIX_BYTES for name in names])


def _prefix(subject: int) -> bytes:
    """Return what the names of a subject's keys begin with in the table."""
    return subject.to_bytes(_PREFIX_BYTES)
