"""Where messages are kept: the Store contract and one module per store."""

from typing import TYPE_CHECKING

from broker.store.clock import Clock, wall_clock
from broker.store.contract import (
    NEVER_STORED,
    Appended,
    Batch,
    NewMessage,
    Page,
    Store,
    StoredMessage,
    StoreUsage,
)
from broker.store.memory import MemoryStore

if TYPE_CHECKING:
    from broker.store.postgres import PostgresStore
    from broker.store.sqlite import SqliteStore

__all__ = [
    "NEVER_STORED",
    "Appended",
    "Batch",
    "Clock",
    "MemoryStore",
    "NewMessage",
    "Page",
    "PostgresStore",
    "SqliteStore",
    "Store",
    "StoreUsage",
    "StoredMessage",
    "wall_clock",
]


def __getattr__(name: str) -> object:
    """Import a store's library when that store is asked for: a memory broker needs no database's."""
    if name == "PostgresStore":
        from broker.store.postgres import PostgresStore

        return PostgresStore
    if name == "SqliteStore":
        from broker.store.sqlite import SqliteStore

        return SqliteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
