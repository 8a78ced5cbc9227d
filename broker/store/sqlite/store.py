"""The SQLite store as the engine sees it: a thread that writes and a thread that reads."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from broker.errors import Refused, StoreUnavailable
from broker.store.clock import Clock, wall_clock
from broker.store.contract import Appended, Batch, Page, StoredMessage, StoreUsage
from broker.store.sqlite.database import prepare
from broker.store.sqlite.lock import FileLock
from broker.store.sqlite.reader import Reader
from broker.store.sqlite.writer import EXPIRE_STEP, Writer

FORGET_STEPS = 100
"""So many steps at most are taken to delete keys: more than come in a second, which is how often they are taken."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """A Store in one file, durable, for one process at a time.

    Args:
        path: the database file; beside it stand `-wal`, `-shm` (SQLite's) and `.lock`.
        clock: tells the time, in milliseconds.
        max_bytes: how large the database may grow, without its log (at most 64 MiB more); None: the disk's limit.
    """

    name = "sqlite"
    durable = True
    shared = False
    identity = ""
    writers = 1

    def __init__(self, path: str | Path, clock: Clock = wall_clock, max_bytes: int | None = None) -> None:
        self._path = Path(path)
        self._lock = FileLock(Path(f"{path}.lock"))
        self._writer = Writer(self._path, clock, max_bytes)
        self._reader = Reader(self._path, clock, max_bytes)
        self._writing: ThreadPoolExecutor | None = None
        self._reading: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Take the file for this process, create it or bring its schema up to date.

        Raises:
            StoreUnavailable: it cannot be used; the message says why and what to do.
        """
        self._writing = ThreadPoolExecutor(1, "sqlite-writer")
        self._reading = ThreadPoolExecutor(1, "sqlite-reader")
        try:
            await self._run(self._writing, self._open)
            # Now, and not at the first read: the log is not torn down while the writer connects anew after an error.
            await self._run(self._reading, self._reader.open)
        except BaseException:
            await self.close()
            raise

    def _open(self) -> None:
        self._lock.acquire()
        prepare(self._path)
        self._writer.open()

    async def close(self) -> None:
        """Finish what is under way, then release the file."""
        writing, reading = self._writing, self._reading
        self._writing = self._reading = None
        if reading is not None:
            await self._run(reading, self._reader.close)
            reading.shutdown()
        if writing is not None:
            # Last, because the last connection that closes moves the log into the database.
            await self._run(writing, self._writer.close)
            writing.shutdown()
        self._lock.release()

    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """Commit a batch in one transaction: when there is no room, none of it is stored."""
        return await self._run(self._writing, self._writer.append, batch, published_at, keys_until)

    async def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """Return readable messages with greater ids, in id order."""
        return await self._run(self._reading, self._reader.read, subject, after_id, limit, max_bytes)

    async def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """Return for each (subject, id) the message, or None."""
        return await self._run(self._reading, self._reader.get, keys)

    async def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """Return the last id of each subject, 0 where nothing was ever published."""
        return await self._run(self._reading, self._reader.heads, subjects)

    async def before(self, subject: str, published_at: int) -> int:
        """Return the id after which everything readable was published at or after the given time."""
        return await self._run(self._reading, self._reader.before, subject, published_at)

    async def expire(self, limit: int) -> int:
        """Delete at most `limit` expired messages, in steps between which appends go on; return how many.

        Keys that are due go in the same manner.
        """
        for _ in range(FORGET_STEPS):
            if await self._run(self._writing, self._writer.forget_keys, EXPIRE_STEP) < EXPIRE_STEP:
                break
        expired = 0
        while expired < limit:
            step = min(limit - expired, EXPIRE_STEP)
            removed = await self._run(self._writing, self._writer.expire, step)
            expired += removed
            if removed < step:
                break
        return expired

    async def usage(self) -> StoreUsage:
        """Return the bytes of the pages in use; freed pages stay in the file and are used again."""
        return await self._run(self._reading, self._reader.usage)

    async def _run(
        self, thread: ThreadPoolExecutor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if thread is None:
            raise StoreUnavailable(f"the store {self._path} is not open")
        return await asyncio.wrap_future(thread.submit(call, *args, **kwargs))
