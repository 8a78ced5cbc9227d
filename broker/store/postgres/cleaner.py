"""Deletes what has expired, in small transactions; of all replicas one at a time."""

from functools import partial

from broker.store.clock import Clock
from broker.store.postgres.connections import Connection, Connections
from broker.store.postgres.migrations import CLEANING_LOCK

STEP = 2000
"""Messages deleted in one transaction: some ms, so that appends are not held up."""

_EXPIRE = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS mine)
DELETE FROM broker.messages WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM broker.messages WHERE expires_at <= $2 AND (SELECT mine FROM turn) ORDER BY expires_at LIMIT $3
))
"""
"""No message is ever updated, so a row stays where it is until it is deleted here."""


class Cleaner:
    """Deletes expired messages in the order of their expiry."""

    def __init__(self, connections: Connections, patience: float, clock: Clock) -> None:
        self._connections = connections
        self._patience = patience
        self._clock = clock

    async def expire(self, limit: int) -> int:
        """As Store.expire; 0 while another replica cleans."""
        expired = 0
        while expired < limit:
            step = min(limit - expired, STEP)
            removed = await self._connections.run(partial(self._remove, limit=step), self._patience)
            expired += removed
            if removed < step:
                break
        return expired

    async def _remove(self, connection: Connection, limit: int) -> int:
        status = await connection.execute(_EXPIRE, CLEANING_LOCK, self._clock(), limit)
        return int(status.rpartition(" ")[2])
