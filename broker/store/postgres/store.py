"""The PostgreSQL store as the engine sees it."""

from collections.abc import Sequence
from pathlib import Path

from broker.errors import Refused
from broker.store.clock import Clock, wall_clock
from broker.store.contract import Appended, Batch, Page, StoredMessage, StoreUsage
from broker.store.postgres.cleaner import Cleaner
from broker.store.postgres.connections import Connection, Connections
from broker.store.postgres.migrations import migrate
from broker.store.postgres.reader import Reader
from broker.store.postgres.writer import Writer

MAX_WRITERS = 4
"""Appends at a time: while one waits for the disk, another is made. More would share the same disk."""

DEFAULT_POOL = 8
PATIENCE = 5.0
"""Seconds that calls wait for a database that is away."""

CLEANING_PATIENCE = 1.0
"""The same for what runs in the background, and so notices first that the database is away."""


class PostgresStore:
    """A Store in one PostgreSQL database, durable, for any number of replicas.

    Args:
        dsn: a PostgreSQL URI, or a file that holds it; read for each new connection.
        password_file: holds the password, on one line; read for each new connection.
        pool: connections at most, 2 or more; half of them append, up to MAX_WRITERS.
        clock: tells the time, in milliseconds.
        patience: seconds that calls wait for a database that is away.
    """

    identity: str
    """Which database it is, for those who must know that two stores use the same one; known once it is open."""

    name = "postgres"
    durable = True
    shared = True

    def __init__(
        self,
        dsn: str | Path,
        password_file: Path | None = None,
        pool: int = DEFAULT_POOL,
        clock: Clock = wall_clock,
        patience: float = PATIENCE,
    ) -> None:
        self.writers = min(MAX_WRITERS, pool // 2)
        self._patience = patience
        self._writing = Connections(dsn, password_file, self.writers)
        self._reading = Connections(dsn, password_file, pool - self.writers)
        self._writer = Writer(self._writing, patience, clock)
        self._reader = Reader(self._reading, patience, clock)
        self._background = Reader(self._reading, CLEANING_PATIENCE, clock)
        self._cleaner = Cleaner(self._reading, CLEANING_PATIENCE, clock)

    async def open(self) -> None:
        """Connect, and create the schema or bring it up to date.

        Raises:
            StoreUnavailable: the database cannot be used; the message says why and what to do.
        """

        async def prepare(connection: Connection) -> None:
            self.identity = await migrate(connection, self._writing.where)

        try:
            await self._writing.open(self._patience)
            await self._reading.open(self._patience)
            await self._writing.run(prepare, self._patience)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what is under way, then end all connections."""
        await self._reading.close()
        await self._writing.close()

    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """Commit a batch in one transaction."""
        return await self._writer.append(batch, published_at, keys_until)

    async def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """Return readable messages with greater ids, in id order."""
        return await self._reader.read(subject, after_id, limit, max_bytes)

    async def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """Return for each (subject, id) the message, or None."""
        return await self._reader.get(keys)

    async def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """Return the last id of each subject, 0 where nothing was ever published."""
        return await self._reader.heads(subjects)

    async def before(self, subject: str, published_at: int) -> int:
        """Return the id after which everything readable was published at or after the given time."""
        return await self._reader.before(subject, published_at)

    async def expire(self, limit: int) -> int:
        """Delete at most `limit` expired messages and return how many; 0 while another replica does it."""
        return await self._cleaner.expire(limit)

    async def usage(self) -> StoreUsage:
        """Return the size of the tables; space of expired messages is used again, and seldom given back."""
        return await self._background.usage()
