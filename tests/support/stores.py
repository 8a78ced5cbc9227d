"""Every store, made the same way, for suites that run against all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from broker.store import Clock, MemoryStore, SqliteStore, Store

Make = Callable[[Path, Clock], Store]

MAKERS: dict[str, Make] = {
    "memory": lambda _, clock: MemoryStore(64 * 1024 * 1024, clock),
    "sqlite": lambda directory, clock: SqliteStore(directory / "broker.db", clock),
}


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
