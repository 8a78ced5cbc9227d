"""Every store, made the same way, for suites that run against all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from broker.errors import Refused
from broker.store import Appended, Clock, MemoryStore, PostgresStore, SqliteStore, Store
from broker.store.contract import Batch
from tests.support.postgres import shared_server

Make = Callable[[Path, Clock], Store]

MAKERS: dict[str, Make] = {
    "memory": lambda _, clock: MemoryStore(64 * 1024 * 1024, clock),
    "postgres": lambda directory, clock: PostgresStore(database_of(directory), clock=clock),
    "sqlite": lambda directory, clock: SqliteStore(directory / "broker.db", clock),
}


@cache
def database_of(directory: Path) -> str:
    """Return the DSN of a database of this directory's own."""
    return shared_server().new_database()


async def append(store: Store, batch: Batch, published_at: int) -> dict[str, int | Refused]:
    """Append messages without keys and return the last ids before them."""
    results = await store.append(batch, published_at, keys_until=0)
    assert not any(result.duplicates for result in results.values() if isinstance(result, Appended))
    return {name: result if isinstance(result, Refused) else result.last_id for name, result in results.items()}


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = 1_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, milliseconds: int) -> None:
        self.now += milliseconds


@dataclass
class StoreCase:
    """A store under test, its clock, and a way to restart it."""

    make: Make
    directory: Path
    clock: FakeClock = field(default_factory=FakeClock)
    store: Store = field(init=False)

    async def open(self) -> Store:
        self.store = self.make(self.directory, self.clock)
        await self.store.open()
        return self.store

    async def reopen(self) -> Store:
        """End the store and start a new one on the same data."""
        await self.store.close()
        return await self.open()

    def give_back(self) -> None:
        """Do now what a database server does by itself in time: free the space of deleted messages."""
        if isinstance(self.store, PostgresStore):
            shared_server().sql("VACUUM broker.messages, broker.keys", database_of(self.directory).rpartition("/")[2])
