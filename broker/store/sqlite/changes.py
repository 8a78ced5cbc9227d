"""What one batch changes in the database: gathered row by row, written table by table."""

import sqlite3
from itertools import repeat
from typing import Final

from broker.store.columns import Columns
from broker.store.sqlite.database import ID_BITS

_NEW_SUBJECT = "INSERT INTO subjects (last_id, key, name) VALUES (?, ?, ?)"
_COUNT = "UPDATE subjects SET last_id = ? WHERE key = ?"
_INSERT = "INSERT INTO messages (position, published_at, expires_at, body) VALUES (?, ?, ?, ?)"
_INSERT_WITH_HEADERS = "INSERT INTO messages (position, published_at, expires_at, body, headers) VALUES (?, ?, ?, ?, ?)"
_KEEP_KEY = "INSERT OR REPLACE INTO keys (subject, id, expires_at, key) VALUES (?, ?, ?, ?)"

_EXPIRES_AT: Final = 2


class Changes:
    """The rows of one batch. `published_at` and `keys_until` are those of Store.append."""

    def __init__(self, published_at: int, keys_until: int) -> None:
        self._published_at = published_at
        self._keys_until = keys_until
        self.new_subjects: list[tuple[int, int, str]] = []
        """last_id, key, name."""
        self._counts: list[tuple[int, int]] = []
        self._rows: list[tuple[int, int, int, bytes]] = []
        self._rows_with_headers: list[tuple[int, int, int, bytes, bytes]] = []
        self._keys: list[tuple[int, int, int, bytes]] = []

    def add(self, subject: str, key: int, last_id: int, messages: Columns) -> None:
        """Add new messages of a subject, which take the ids after its last one; 0: the subject is new."""
        until = last_id + len(messages)
        if last_id:
            self._counts.append((until, key))
        else:
            self.new_subjects.append((until, key, subject))
        bodies, expiries, headers, keys = messages.bodies, messages.expiries, messages.headers, messages.keys
        first = (key << ID_BITS | last_id) + 1
        positions = range(first, first + len(messages))
        if any(headers):
            extended = zip(positions, repeat(self._published_at), expiries, bodies, headers, strict=False)
            self._rows_with_headers += [row for row in extended if row[_EXPIRES_AT]]
        else:
            rows = zip(positions, repeat(self._published_at), expiries, bodies, strict=False)
            self._rows += rows if all(expiries) else [row for row in rows if row[_EXPIRES_AT]]
        if any(keys):
            ids = range(last_id + 1, until + 1)
            self._keys += [(key, id_, self._keys_until, name) for id_, name in zip(ids, keys, strict=True) if name]

    def room(self) -> int:
        """Return about how many bytes the rows take in the file; 0 when there are none but counters."""
        room = sum([64 + len(body) for _, _, _, body in self._rows])
        room += sum([64 + len(body) + len(headers) for _, _, _, body, headers in self._rows_with_headers])
        # A key stands in two trees.
        return room + sum([2 * (32 + len(name)) for _, _, _, name in self._keys])

    @property
    def grow(self) -> bool:
        """Whether they add more to the file than counters."""
        return bool(self._rows or self._rows_with_headers or self._keys)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write the rows, in the connection's transaction.

        Raises:
            sqlite3.Error: as SQLite has it.
        """
        connection.executemany(_NEW_SUBJECT, self.new_subjects)
        connection.executemany(_COUNT, self._counts)
        connection.executemany(_INSERT, self._rows)
        if self._rows_with_headers:
            connection.executemany(_INSERT_WITH_HEADERS, self._rows_with_headers)
        if self._keys:
            connection.executemany(_KEEP_KEY, self._keys)
