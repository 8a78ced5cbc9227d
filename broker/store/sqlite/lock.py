"""One process at a time on a database file."""

import fcntl
import os
from pathlib import Path

from broker.errors import StoreInUse, StoreUnavailable


class FileLock:
    """An exclusive lock on a file beside the database.

    The kernel ends it with the process, however that dies, so nothing stale is ever left: the file itself means
    nothing. It is not on the database file, where closing any descriptor would drop SQLite's own locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StoreInUse: another process holds it.
            StoreUnavailable: the file cannot be made.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot create {self._path}: {error.strerror}; the directory must exist and be writable for this user"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StoreInUse(
                f"another process holds {self._path}: a SQLite store serves one broker at a time; "
                "stop the other one or give this one a path of its own"
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
