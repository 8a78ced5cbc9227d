"""The database file: its schema and how connections to it are made.

One table of messages, ordered by a packed integer `position` = subject's key << 40 | id. WITHOUT ROWID on (subject, id)
takes 100-byte messages up to 14 % slower and 1200-byte messages 2 to 3 times (benchmarks/sqlite_schema.py). Packing
bounds a store to 8 million subjects of 10^12 ids each; beyond either it refuses. `body` stands last, so that a search
does not read it.
"""

import os
import sqlite3
from pathlib import Path

from broker.errors import StoreUnavailable
from broker.store.sqlite.errors import translate

ID_BITS = 40
MAX_ID = (1 << ID_BITS) - 1
MAX_KEY = (1 << (63 - ID_BITS)) - 1

APPLICATION_ID = 0x42524B52
"""Marks the file as a broker's ("BRKR")."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE subjects (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last_id INTEGER NOT NULL) STRICT",
        """CREATE TABLE messages (
            position INTEGER PRIMARY KEY, published_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, body BLOB NOT NULL
        ) STRICT""",
        "CREATE INDEX messages_by_expiry ON messages (expires_at)",
    ),
    (
        "ALTER TABLE messages ADD COLUMN headers BLOB NOT NULL DEFAULT x''",
        """CREATE TABLE keys (
            subject INTEGER NOT NULL, key BLOB NOT NULL, id INTEGER NOT NULL, expires_at INTEGER NOT NULL,
            PRIMARY KEY (subject, key)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX keys_by_expiry ON keys (expires_at)",
    ),
)
"""What leads from each version of the schema to the next; never edited, only added to."""

WAL_PAGES = 4000
"""Pages (16 MiB) of write-ahead log after which a commit also moves them into the database."""

_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # a commit returns when the log is on the disk: acknowledged means durable
    f"PRAGMA wal_autocheckpoint = {WAL_PAGES}",  # fewer syncs of the database than the default of 1000
    "PRAGMA cache_size = -8192",  # 8 MiB a connection: the right edge of the trees stays in memory
    "PRAGMA secure_delete = FAST",  # some builds default to ON, which writes every freed page once more
)

_BUSY_SECONDS = 2.0
"""How long to wait for a lock of another program, such as a backup."""


def prepare(path: Path) -> None:
    """Create the file or bring its schema up to date.

    Raises:
        StoreUnavailable: the file cannot be used; the message says why and what to do.
    """
    _create(path)
    try:
        connection = _connect(path)
        try:
            _migrate(connection, path)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error


def connect(path: Path, *, read_only: bool = False, max_bytes: int | None = None) -> sqlite3.Connection:
    """Open a prepared file; never creates one, because ids would start again.

    Raises:
        sqlite3.Error: as SQLite has it.
    """
    connection = _connect(path)
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        if max_bytes is not None:
            (page_size,) = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count = {max(max_bytes // page_size, 1)}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Make an empty file that only this user can read, if there is none. SQLite gives its side files the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"cannot open {path}: {error.strerror}; it must be a file this user may write, in an existing directory"
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    # Statements are begun and ended by hand (isolation_level None); each connection has one thread at a time.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
        timeout=_BUSY_SECONDS,
    )  # fmt: skip


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or version or objects):
        raise StoreUnavailable(f"{path} is a SQLite database of another program; give the broker a path of its own")
    if version > len(_MIGRATIONS):
        raise StoreUnavailable(
            f"{path} has schema version {version}, this broker knows versions up to {len(_MIGRATIONS)}: "
            "run the broker's newer release that wrote it, or restore an older backup"
        )
    # Set for good in the file; readers and the writer do not hold each other up.
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(f"{path} cannot have a write-ahead log: its file system lacks shared memory maps")
    for number, statements in enumerate(_MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
