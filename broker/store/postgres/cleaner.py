"""Deletes what has expired, in small transactions; of all replicas one at a time."""

from broker.store.clock import Clock
from broker.store.postgres.connections import Connection, Connections
from broker.store.postgres.migrations import CLEANING_LOCK

STEP = 2000
"""Messages or keys deleted in one transaction: some ms, so that appends are not held up."""

FORGET_STEPS = 100
"""So many steps at most are taken to delete keys: more than come in a second, which is how often they are taken."""

_EXPIRE = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS mine)
DELETE FROM broker.messages WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM broker.messages WHERE expires_at <= $2 AND (SELECT mine FROM turn) ORDER BY expires_at LIMIT $3
))
"""
"""No message is ever updated, so a row stays where it is until it is deleted here."""

_FORGET = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($1) AS mine), due AS MATERIALIZED (
    SELECT ctid FROM broker.keys WHERE expires_at <= $2 AND (SELECT mine FROM turn) ORDER BY expires_at LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM broker.keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM due))
"""
"""An append deletes what is due of its own keys, too. It may wait for this, so this must not wait for it."""


class Cleaner:
    """Deletes expired messages and keys in the order of their expiry."""

    def __init__(self, connections: Connections, patience: float, clock: Clock) -> None:
        self._connections = connections
        self._patience = patience
        self._clock = clock

    async def expire(self, limit: int) -> int:
        """As Store.expire; 0 while another replica cleans."""
        for _ in range(FORGET_STEPS):
            if await self._remove(_FORGET, STEP) < STEP:
                break
        expired = 0
        while expired < limit:
            step = min(limit - expired, STEP)
            removed = await self._remove(_EXPIRE, step)
            expired += removed
            if removed < step:
                break
        return expired

    async def _remove(self, statement: str, limit: int) -> int:
        async def remove(connection: Connection) -> str:
            return await connection.execute(statement, CLEANING_LOCK, self._clock(), limit)

        status = await self._connections.run(remove, self._patience)
        return int(status.rpartition(" ")[2])
