"""SQLite's errors in the words of the store contract."""

import sqlite3

from broker.errors import Refused, StoreFull, StoreUnavailable, Unavailable

_PRIMARY = 0xFF
"""The low byte of an extended result code is the kind of error."""

_ADVICE = {
    sqlite3.SQLITE_CANTOPEN: "the directory must exist and be writable for this user",
    sqlite3.SQLITE_PERM: "this user must be allowed to write the file and its directory",
    sqlite3.SQLITE_READONLY: "this user must be allowed to write the file and its directory",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; move it away or give another path",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup, or move it away to start empty",
    sqlite3.SQLITE_BUSY: "another program has locked the file; stop it",
    sqlite3.SQLITE_LOCKED: "another program has locked the file; stop it",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; look at the system's log",
}


def code_of(error: sqlite3.Error) -> int:
    """Return the kind of error, one of sqlite3.SQLITE_…, or SQLITE_ERROR for those of the Python module itself."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY


def translate(error: sqlite3.Error, path: str) -> Refused:
    """Return the contract's error for one of SQLite after which nothing was stored."""
    code = code_of(error)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"no room in {path}: its size limit is reached or the disk is full; enlarge it or let messages expire",
            {"limit": "disk"},
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    advice = _ADVICE.get(code)
    return StoreUnavailable(f"cannot use {path}: {error} ({name})" + (f"; {advice}" if advice else ""))


def outcome_unknown(error: sqlite3.Error, path: str) -> Unavailable:
    """Return the error for a COMMIT that failed so that the messages may come back with the next start."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return Unavailable(
        "OUTCOME_UNKNOWN", f"{path} failed while it committed: {error} ({name}); the messages may or may not be stored"
    )
