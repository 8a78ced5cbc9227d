"""What changes the database; runs in one thread, one transaction a batch."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from broker.errors import Refused, StoreFull
from broker.store.clock import Clock
from broker.store.columns import Columns, columns_of
from broker.store.contract import NO_DUPLICATES, Appended, Batch
from broker.store.sqlite.changes import Changes
from broker.store.sqlite.database import MAX_ID, MAX_KEY, WAL_PAGES, connect
from broker.store.sqlite.disk import reserve_is_touched
from broker.store.sqlite.errors import code_of, outcome_unknown, translate

EXPIRE_STEP = 1000
"""Messages or keys deleted in one transaction: a few ms, so that appends are not held up."""

ROOM_STEPS = 8
"""So many such steps at most are taken to make room for a batch."""

CACHED_SUBJECTS = 50_000
"""Subjects whose key and last id are kept in memory (about 250 bytes each)."""

WAL_BOUND = 4 * WAL_PAGES * 4096
"""Bytes of log above which the writer waits for readers to let it start again."""

_FIND_KEY = "SELECT id FROM keys WHERE subject = ? AND key = ? AND expires_at > ?"
_EXPIRE = (
    "DELETE FROM messages WHERE position IN"
    " (SELECT position FROM messages WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)

_FORGET_KEYS = (
    "DELETE FROM keys WHERE (subject, key) IN"
    " (SELECT subject, key FROM keys WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)

_Known = tuple[int, int]
"""A subject's key and last id."""


class Writer:
    """The only connection that writes. After an error it is opened anew by the next call.

    The process holds the file's lock, so what is cached here after a commit stays true.
    """

    def __init__(self, path: Path, clock: Clock, max_bytes: int | None) -> None:
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._clock = clock
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._known: dict[str, _Known] = {}
        """Least recently written first."""
        self._last_key = 0
        self._wal_bound = WAL_BOUND
        self._uncounted = 0
        """Messages that expired to make room, which `expire` has not reported yet."""

    def open(self) -> None:
        """Connect, so that the first call does not have to.

        Raises:
            StoreUnavailable: the file cannot be used.
        """
        try:
            self._connect()
        except sqlite3.Error as error:
            raise translate(error, str(self._path)) from error

    def close(self) -> None:
        """Release the connection; the next call opens it again."""
        self._known.clear()
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """As Store.append. When there is no room, expired messages and keys are deleted first."""
        for _ in range(ROOM_STEPS):
            try:
                return self._append(batch, published_at, keys_until)
            except StoreFull:
                removed = self._expire(EXPIRE_STEP)
                self._uncounted += removed
                if not removed + self.forget_keys(EXPIRE_STEP):
                    raise
        return self._append(batch, published_at, keys_until)

    def expire(self, limit: int) -> int:
        """As Store.expire, in one transaction."""
        counted = min(limit, self._uncounted)
        self._uncounted -= counted
        return counted + (self._expire(limit - counted) if counted < limit else 0)

    def forget_keys(self, limit: int) -> int:
        """Delete at most `limit` keys that are due, in one transaction, and return how many."""
        with self._transaction() as connection:
            return connection.execute(_FORGET_KEYS, (self._clock(), limit)).rowcount

    def _append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        results: dict[str, Appended | Refused] = {}
        known: dict[str, _Known] = {}
        changes = Changes(published_at, keys_until)
        with self._transaction() as connection:
            for subject, group in batch.items():
                messages = columns_of(group)
                next_key = self._last_key + len(changes.new_subjects) + 1
                key, last_id = self._look_up(connection, subject) or (next_key, 0)
                duplicates = self._duplicates(connection, key, messages) if last_id else NO_DUPLICATES
                messages = messages.without(duplicates)
                until = last_id + len(messages)
                if key > MAX_KEY or until > MAX_ID:
                    results[subject] = _out_of_numbers(subject, key)
                    continue
                if messages:
                    changes.add(subject, key, last_id, messages)
                known[subject] = (key, until)
                results[subject] = Appended(last_id, duplicates)
            if changes.grow and reserve_is_touched(self._path.parent) and not _fits_free_pages(connection, changes):
                raise StoreFull(
                    f"the disk of {self._path} is nearly full; enlarge it or let messages expire", {"limit": "disk"}
                )
            changes.write(connection)
        self._last_key += len(changes.new_subjects)
        self._remember(known)
        return results

    def _duplicates(self, connection: sqlite3.Connection, key: int, messages: Columns) -> Mapping[int, int]:
        if not any(messages.keys):
            return NO_DUPLICATES
        now = self._clock()
        found = {
            place: row[0]
            for place, name in enumerate(messages.keys)
            if name and (row := connection.execute(_FIND_KEY, (key, name, now)).fetchone())
        }
        return found or NO_DUPLICATES

    def _expire(self, limit: int) -> int:
        with self._transaction() as connection:
            return connection.execute(_EXPIRE, (self._clock(), limit)).rowcount

    def _look_up(self, connection: sqlite3.Connection, subject: str) -> _Known | None:
        known = self._known.get(subject)
        if known is None:
            known = connection.execute("SELECT key, last_id FROM subjects WHERE name = ?", (subject,)).fetchone()
        return known

    def _remember(self, known: dict[str, _Known]) -> None:
        for subject, counters in known.items():
            self._known.pop(subject, None)
            self._known[subject] = counters
        while len(self._known) > CACHED_SUBJECTS:
            del self._known[next(iter(self._known))]

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = connect(self._path, max_bytes=self._max_bytes)
            (last_key,) = connection.execute("SELECT coalesce(max(key), 0) FROM subjects").fetchone()
            self._last_key = last_key
            self._connection = connection
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is done inside, or roll it back and raise the contract's error."""
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
        except sqlite3.Error as error:
            raise self._failed(error, committing=False) from error
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error, committing=True) from error
        self._bound_log(connection)

    def _failed(self, error: sqlite3.Error, *, committing: bool) -> Refused:
        """Roll back and return the contract's error.

        A COMMIT that failed has not happened for this process: SQLite has rolled it back or is told to. When a write
        failed (disk full or not) it will not happen later either, since the mark of the commit is written last. But
        after a failed sync the log may hold the whole transaction, and a process that died now would find it there.
        """
        self._roll_back()
        code = code_of(error)
        if code != sqlite3.SQLITE_FULL:
            self.close()
        if committing and code == sqlite3.SQLITE_IOERR and error.sqlite_errorcode != sqlite3.SQLITE_IOERR_WRITE:
            return outcome_unknown(error, str(self._path))
        return translate(error, str(self._path))

    def _roll_back(self) -> None:
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def _bound_log(self, connection: sqlite3.Connection) -> None:
        """Begin the log anew when reads have overlapped for so long that SQLite found no moment for it."""
        # The commit stands: an error here will be met again, and answered, by the next one.
        with suppress(OSError, sqlite3.Error):
            if self._wal.stat().st_size <= self._wal_bound:
                return
            (held, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            # A backup may hold the log for minutes: wait for it only now and then, not at every commit.
            self._wal_bound = self._wal_bound + WAL_BOUND if held else WAL_BOUND


def _fits_free_pages(connection: sqlite3.Connection, changes: Changes) -> bool:
    """Whether pages that expired messages left in the file hold the rows, with as much again for the trees."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return bool(2 * changes.room() <= free * page_size)


def _out_of_numbers(subject: str, key: int) -> StoreFull:
    if key > MAX_KEY:
        return StoreFull(
            f"a SQLite store holds at most {MAX_KEY} subjects; publish to known ones", {"limit": "subjects"}
        )
    return StoreFull(
        f"subject {subject!r} has used all {MAX_ID} ids of a SQLite store", {"limit": "ids"}, retry_after=None
    )
