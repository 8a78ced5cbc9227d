"""Append: one statement, one round trip, one commit.

The statement locks the subjects' rows in the order of their keys, so two replicas that append to the same subjects at
the same time wait for each other and never in a circle. The lock is held until the commit: ids are given in the order
of commits.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from broker.errors import Refused, StoreUnavailable
from broker.store.contract import Batch, NewMessage
from broker.store.postgres.connections import Connection, Connections
from broker.store.postgres.errors import FAILURES, is_answer, outcome_unknown

CACHED_SUBJECTS = 50_000
"""Subjects whose keys are kept in memory (about 150 bytes each)."""

_LEARN = """
WITH new AS (
    INSERT INTO broker.subjects (name)
    SELECT name FROM unnest($1::text[]) AS asked (name) ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO NOTHING RETURNING name, key
)
SELECT name, key FROM new UNION ALL SELECT name, key FROM broker.subjects WHERE name = ANY ($1::text[])
"""
"""Makes subjects that do not exist, and tells the keys of all but those that another replica makes right now."""

_APPEND = """
WITH locked AS MATERIALIZED (
    SELECT s.key, asked.count FROM broker.subjects AS s
    JOIN unnest($1::bigint[], $2::integer[]) AS asked (key, count) ON s.key = asked.key
    ORDER BY s.key FOR UPDATE OF s
), counted AS (
    UPDATE broker.subjects AS s
    SET last_id = s.last_id + locked.count, last_time = greatest(s.last_time, $3)
    FROM locked WHERE s.key = locked.key
    RETURNING s.key, s.last_id - locked.count AS base, s.last_time
), stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body)
    SELECT counted.key, counted.base + message.number, counted.last_time, message.expires_at, message.body
    FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::bytea[]) AS message (key, number, expires_at, body)
    JOIN counted ON counted.key = message.key
)
SELECT key, base FROM counted
"""

_APPEND_TO_ONE = """
WITH counted AS (
    UPDATE broker.subjects SET last_id = last_id + $2::integer, last_time = greatest(last_time, $3)
    WHERE key = $1 RETURNING last_id - $2::integer AS base, last_time
), stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body)
    SELECT $1, counted.base + message.number, counted.last_time, message.expires_at, message.body
    FROM counted CROSS JOIN unnest($4::integer[], $5::bigint[], $6::bytea[]) AS message (number, expires_at, body)
)
SELECT $1::bigint AS key, base FROM counted
"""
"""The same for a single subject, which is cheaper."""


class _Kept(NamedTuple):
    """A subject's messages that are stored: their places in the batch, and what is kept of them."""

    numbers: Sequence[int]
    expiries: list[int]
    bodies: list[bytes]


class Writer:
    """Appends batches; several at a time, as long as no two have a subject in common."""

    def __init__(self, connections: Connections, patience: float) -> None:
        self._connections = connections
        self._patience = patience
        self._keys: dict[str, int] = {}
        connections.opened = self._forget_keys

    async def append(self, batch: Batch, published_at: int) -> dict[str, int | Refused]:
        """As Store.append."""

        async def append(connection: Connection) -> dict[str, int | Refused]:
            keys = await self._keys_of(connection, batch)
            try:
                bases = await _append(connection, batch, keys, published_at)
            except FAILURES as error:
                if is_answer(error):
                    raise
                connection.terminate()
                raise outcome_unknown(error, self._connections.where) from error
            results: dict[str, int | Refused] = {name: bases[key] for name, key in keys.items() if key in bases}
            if len(results) < len(batch):
                self._forget_keys()
                gone = StoreUnavailable(f"subjects have vanished from PostgreSQL at {self._connections.where}")
                results.update(dict.fromkeys(batch.keys() - results.keys(), gone))
            return results

        return await self._connections.run(append, self._patience)

    def _forget_keys(self) -> None:
        """Trust no key: another server than before, a standby that was behind or a backup, may have other ones."""
        self._keys = {}  # a new one: what is learned just now still goes into the old one

    async def _keys_of(self, connection: Connection, batch: Batch) -> dict[str, int]:
        """Return the keys of a batch's subjects, which are made when they do not exist."""
        known = self._keys
        found = {name: known[name] for name in batch if name in known}
        unknown = batch.keys() - found.keys()
        while missing := unknown - found.keys():
            found |= {row[0]: row[1] for row in await connection.fetch(_LEARN, list(missing))}
        if unknown:
            if len(known) + len(unknown) > CACHED_SUBJECTS:
                known.clear()
            known.update((name, found[name]) for name in unknown)
        return found


async def _append(connection: Connection, batch: Batch, keys: dict[str, int], published_at: int) -> dict[int, int]:
    """Return for each key the last id before the batch."""
    kept = {keys[name]: _keep(messages) for name, messages in batch.items()}
    if len(batch) == 1:
        [(name, messages)] = batch.items()
        key = keys[name]
        rows = await connection.fetch(_APPEND_TO_ONE, key, len(messages), published_at, *kept[key])
    else:
        rows = await connection.fetch(
            _APPEND,
            [keys[name] for name in batch],
            [len(messages) for messages in batch.values()],
            published_at,
            [key for key, (numbers, _, _) in kept.items() for _ in numbers],
            list(chain.from_iterable(numbers for numbers, _, _ in kept.values())),
            list(chain.from_iterable(expiries for _, expiries, _ in kept.values())),
            list(chain.from_iterable(bodies for _, _, bodies in kept.values())),
        )
    return {row[0]: row[1] for row in rows}


def _keep(messages: Sequence[NewMessage]) -> _Kept:
    expiries = [message.expires_at for message in messages]
    bodies = [message.body for message in messages]
    if all(expiries):
        return _Kept(range(1, len(messages) + 1), expiries, bodies)
    numbers = [number for number, expires_at in enumerate(expiries, 1) if expires_at]
    return _Kept(numbers, [expiries[number - 1] for number in numbers], [bodies[number - 1] for number in numbers])
