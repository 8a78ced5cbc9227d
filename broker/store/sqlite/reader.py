"""What is asked of the database; runs in a thread of its own beside the writer."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from broker.store.clock import Clock
from broker.store.contract import Page, StoredMessage, StoreUsage
from broker.store.sqlite.database import ID_BITS, MAX_ID, connect
from broker.store.sqlite.errors import translate

_SUBJECT = "SELECT key << 40, last_id FROM subjects WHERE name = ?"
_PAGE = (
    "SELECT position - ?1, body, published_at, expires_at, headers FROM messages"
    " WHERE position > ?2 AND position <= ?3 AND expires_at > ?4 ORDER BY position LIMIT ?5"
)
_MESSAGE = (
    "SELECT ?2, body, published_at, expires_at, headers FROM messages"
    " WHERE position = (SELECT key << 40 FROM subjects WHERE name = ?1) + ?2 AND expires_at > ?3"
)
_NEXT = "SELECT position, published_at FROM messages WHERE position >= ? AND position <= ? ORDER BY position LIMIT 1"
_NEXT_READABLE = (
    "SELECT position FROM messages WHERE position >= ? AND position <= ? AND expires_at > ? ORDER BY position LIMIT 1"
)
assert ID_BITS == 40


class Reader:
    """A connection that only reads. After an error it is opened anew by the next call."""

    def __init__(self, path: Path, clock: Clock, max_bytes: int | None) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = connect(self._path, read_only=True)
            yield self._connection
        except sqlite3.Error as error:
            self.close()
            raise translate(error, str(self._path)) from error

    def open(self) -> None:
        """Connect, so that the first call does not have to.

        Raises:
            StoreUnavailable: the file cannot be used.
        """
        with self._use():
            pass

    def close(self) -> None:
        """Release the connection; the next call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """As Store.read."""
        with self._use() as connection:
            base, last_id = connection.execute(_SUBJECT, (subject,)).fetchone() or (0, 0)
            messages: list[StoredMessage] = []
            if after_id >= last_id:
                return Page(messages, last_id, True)
            # One more than asked for tells whether the page is complete. The upper bound keeps out what is committed
            # between the two statements.
            bounds = (base, base + max(after_id, 0), base + last_id, self._clock(), limit + 1)
            cursor = connection.execute(_PAGE, bounds)
            try:
                for row in cursor:
                    message = StoredMessage._make(row)
                    max_bytes -= len(message.body) + len(message.headers)
                    if messages and (len(messages) == limit or max_bytes < 0):
                        return Page(messages, last_id, False)
                    messages.append(message)
            finally:
                cursor.close()  # ends the read, so that the log can be moved into the database
            return Page(messages, last_id, True)

    def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """As Store.get."""
        now = self._clock()
        with self._use() as connection:
            found: list[StoredMessage | None] = []
            for subject, message_id in keys:
                row = None
                if 0 < message_id <= MAX_ID:  # others would be positions in another subject
                    row = connection.execute(_MESSAGE, (subject, message_id, now)).fetchone()
                found.append(StoredMessage._make(row) if row else None)
            return found

    def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """As Store.heads."""
        with self._use() as connection:
            rows = {name: connection.execute(_SUBJECT, (name,)).fetchone() for name in subjects}
            return {name: row[1] if row else 0 for name, row in rows.items()}

    def before(self, subject: str, published_at: int) -> int:
        """As Store.before: a binary search, since times rise with ids."""
        with self._use() as connection:
            base, last_id = connection.execute(_SUBJECT, (subject,)).fetchone() or (0, 0)
            end = base + last_id
            low, high = base + 1, end + 1
            while low < high:
                middle = (low + high) // 2
                position, time = connection.execute(_NEXT, (middle, end)).fetchone() or (end, published_at)
                if time >= published_at:
                    high = middle
                else:
                    low = position + 1
            first = connection.execute(_NEXT_READABLE, (low, end, self._clock())).fetchone()
            return int(first[0]) - base - 1 if first else int(last_id)

    def usage(self) -> StoreUsage:
        """As Store.usage: the pages in use; freed ones stay in the file and are used again."""
        with self._use() as connection:
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            (free,) = connection.execute("PRAGMA freelist_count").fetchone()
            return StoreUsage((pages - free) * page_size, self._max_bytes)
