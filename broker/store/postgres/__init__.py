"""Messages in PostgreSQL 14 and later: durable, and one store for many replicas."""

from broker.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
