"""Messages in memory: nothing survives the process, and nothing is dropped to make room.

The limit is on bytes as counted here: bodies, headers, keys, subject names, and a fixed overhead for what Python keeps
around each (measured; a test holds the figures to reality). Subjects are never forgotten, because their ids must not
come again.
"""

import heapq
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby, repeat
from operator import itemgetter

from broker.errors import Refused, StoreFull
from broker.store.clock import Clock, wall_clock
from broker.store.columns import Columns, columns_of
from broker.store.contract import (
    NEVER_STORED,
    NO_DUPLICATES,
    Appended,
    Batch,
    NewMessage,
    Page,
    StoredMessage,
    StoreUsage,
)
from broker.store.keys import Keys, size_of
from broker.store.log import BODY, CHUNK, EXPIRES_AT, HEADERS, ID, MessageLog, Record

MESSAGE_OVERHEAD = 368
"""Bytes counted for a stored message beside its body, at worst: its record, numbers, and entry in the expiry heap."""

HEADERS_OVERHEAD = 48
"""Bytes counted for headers beside themselves."""

SUBJECT_OVERHEAD = 512
"""Bytes counted for a subject beside its name: its counter, its log with one chunk, its share of the table."""

_expires_at_of = itemgetter(EXPIRES_AT)
_stored = partial(tuple.__new__, StoredMessage)

KEYS_SHARE = 0.25
"""Of the limit, what keys may take. They come with every message of the client, and most are never asked for."""

DEFAULT_LIMIT = 256 * 1024 * 1024


class _Subject:
    __slots__ = ("last_id", "log", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.last_id = 0
        self.log = MessageLog()


_Run = tuple[int, str, int, int]
"""Neighbours of one subject that expire together: expires_at, subject, first id, last id."""


class MemoryStore:
    """A Store in memory, bounded by bytes."""

    name = "memory"
    durable = False
    shared = False
    identity = ""
    writers = 1

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT, clock: Clock = wall_clock) -> None:
        self._limit = limit_bytes
        self._clock = clock
        self._used = 0
        self._subjects: dict[str, _Subject] = {}
        self._keys = Keys()
        self._keys_forgotten = 0
        self._runs: list[_Run] = []
        self._uncounted = 0
        """Messages that expired to make room, which `expire` has not reported yet."""

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """Store each subject's messages that fit; a subject that does not fit gets StoreFull as its result."""
        return {name: self._append(name, messages, published_at, keys_until) for name, messages in batch.items()}

    def _append(self, name: str, group: Sequence[NewMessage], published_at: int, keys_until: int) -> Appended | Refused:
        subject = self._subjects.get(name)
        messages = columns_of(group)
        duplicates = NO_DUPLICATES
        if subject is not None and messages.keys:
            duplicates = self._keys.find(subject.number, messages.keys, self._clock())
        messages = messages.without(duplicates)
        room = _room(messages)
        if subject is None:
            room += SUBJECT_OVERHEAD + sys.getsizeof(name)
        if not self._make_room(room):
            return StoreFull(
                f"the memory limit of {self._limit} bytes is reached: {self._used} are in use and these messages need "
                f"{room}; raise the limit, let messages expire sooner, or publish again later",
                {"limit": "memory", "limit_bytes": str(self._limit)},
            )
        self._used += room
        if subject is None:
            subject = self._subjects[name] = _Subject(len(self._subjects))
        before, subject.last_id = subject.last_id, subject.last_id + len(messages.bodies)
        records = _records(messages, before + 1, published_at)
        subject.log.extend(records)
        for expires_at, first_id, last_id in _runs_of(records):
            heapq.heappush(self._runs, (expires_at, name, first_id, last_id))
        if messages.keys:
            self._keys.add(subject.number, messages.keys, before + 1, keys_until)
            # So that those that are due never pile up: twice as many may go as come.
            self._forget_keys(2 * len(messages.keys))
            self._bound_keys()
        return Appended(before, duplicates)

    async def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """Return readable messages with greater ids, in id order."""
        known = self._subjects.get(subject)
        if known is None:
            return Page([], 0, True)
        messages: list[StoredMessage] = []
        now = self._clock()
        for chunk in known.log.chunks_after(after_id):
            for record in chunk:
                if record[EXPIRES_AT] <= now:
                    continue
                max_bytes -= len(record[BODY]) + len(record[HEADERS])
                if messages and (len(messages) == limit or max_bytes < 0):
                    return Page(messages, known.last_id, False)
                messages.append(_stored(record))
        return Page(messages, known.last_id, True)

    async def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """Return for each (subject, id) the message, or None."""
        now = self._clock()
        found: list[StoredMessage | None] = []
        for name, message_id in keys:
            subject = self._subjects.get(name)
            record = subject.log.find(message_id) if subject is not None else None
            found.append(StoredMessage._make(record) if record is not None and record[EXPIRES_AT] > now else None)
        return found

    async def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """Return the last id of each subject, 0 where nothing was ever published."""
        return {name: known.last_id if (known := self._subjects.get(name)) else 0 for name in subjects}

    async def before(self, subject: str, published_at: int) -> int:
        """Return the id after which everything readable was published at or after the given time."""
        known = self._subjects.get(subject)
        if known is None:
            return 0
        first = next(self._readable(known.log.published_from(published_at)), None)
        return known.last_id if first is None else first[ID] - 1

    async def expire(self, limit: int) -> int:
        """Delete at most `limit` expired messages and return how many; those that made room before count here too."""
        self._forget_keys(limit)
        expired = min(limit, self._uncounted)
        self._uncounted -= expired
        while expired < limit and (removed := self._remove_due(limit - expired)) is not None:
            expired += removed
        return expired

    async def usage(self) -> StoreUsage:
        """Return the bytes counted against the limit."""
        return StoreUsage(self._used, self._limit, self._keys_forgotten)

    def _readable(self, records: Iterator[Record]) -> Iterator[Record]:
        now = self._clock()
        return (record for record in records if record[EXPIRES_AT] > now)

    def _make_room(self, room: int) -> bool:
        """Delete expired messages until `room` bytes fit, and return whether they do."""
        while self._used + room > self._limit:
            if self._forget_keys(CHUNK):
                continue
            removed = self._remove_due(CHUNK)
            if removed is None:
                return False
            self._uncounted += removed
        return True

    def _remove_due(self, limit: int) -> int | None:
        """Delete up to `limit` messages of the run that is due first; return how many, or None when none is due."""
        if not self._runs or self._runs[0][0] > self._clock():
            return None
        expires_at, name, first_id, last_id = heapq.heappop(self._runs)
        until = min(last_id, first_id + limit - 1)
        if until < last_id:
            heapq.heappush(self._runs, (expires_at, name, until + 1, last_id))
        removed = self._subjects[name].log.remove(first_id, until)
        self._used -= sum([MESSAGE_OVERHEAD + len(record[BODY]) for record in removed])
        self._used -= sum([HEADERS_OVERHEAD + len(record[HEADERS]) for record in removed if record[HEADERS]])
        return len(removed)

    def _forget_keys(self, limit: int) -> int:
        """Forget about so many keys that are due, and return how many bytes that gave back."""
        freed = self._keys.forget_due(self._clock(), limit)
        self._used -= freed
        return freed

    def _bound_keys(self) -> None:
        """Let keys take no more than their share: publishing goes on, and the oldest are forgotten too soon."""
        before = self._keys.bytes
        while self._keys.bytes > self._limit * KEYS_SHARE:
            self._keys_forgotten += self._keys.forget_next()
        self._used -= before - self._keys.bytes


def _records(messages: Columns, first_id: int, published_at: int) -> list[Record]:
    """Return what is kept of messages that take the ids from `first_id` on."""
    ids = range(first_id, first_id + len(messages.bodies))
    rows = zip(
        ids, messages.bodies, repeat(published_at), messages.expiries, messages.headers or repeat(b""), strict=False
    )
    return list(rows) if all(messages.expiries) else [row for row in rows if row[EXPIRES_AT] != NEVER_STORED]


def _runs_of(records: list[Record]) -> list[tuple[int, int, int]]:
    """Divide records into neighbours that expire together: when, and their first and last ids."""
    if len(set(map(_expires_at_of, records))) == 1:
        return [(records[0][EXPIRES_AT], records[0][ID], records[-1][ID])]
    runs: list[tuple[int, int, int]] = []
    for expires_at, run in groupby(records, key=_expires_at_of):
        ids = [record[ID] for record in run]
        runs.append((expires_at, ids[0], ids[-1]))
    return runs


def _room(messages: Columns) -> int:
    """Return the bytes that messages and their keys count for."""
    keys = size_of([len(key) for key in messages.keys if key]) if messages.keys else 0
    if NEVER_STORED in messages.expiries:
        stored = messages.without({place for place, expires_at in enumerate(messages.expiries) if not expires_at})
        return _room(stored.anonymous()) + keys
    room = MESSAGE_OVERHEAD * len(messages.bodies) + sum(map(len, messages.bodies)) + keys
    if messages.headers:
        room += sum([HEADERS_OVERHEAD + len(headers) for headers in messages.headers if headers])
    return room
