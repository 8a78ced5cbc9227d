"""Messages in one SQLite file: durable, embedded, for one replica with a volume."""

from broker.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
