"""What is asked of the database: each question is one query, so its answer is of one moment."""

from collections.abc import Sequence

import asyncpg

from broker.store.clock import Clock
from broker.store.contract import Page, StoredMessage, StoreUsage
from broker.store.postgres.connections import Connection, Connections

_PAGE = """
SELECT s.last_id, page.scanned, page.id, page.body, page.published_at, page.expires_at, page.headers
FROM broker.subjects AS s LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT found.*, count(*) OVER () AS scanned, row_number() OVER so_far AS number,
            sum(octet_length(found.body) + octet_length(found.headers)) OVER so_far AS bytes
        FROM (
            SELECT id, body, published_at, expires_at, headers FROM broker.messages
            WHERE subject = s.key AND id > $2 AND id <= s.last_id AND expires_at > $3
            ORDER BY id LIMIT $4::bigint + 1
        ) AS found
        WINDOW so_far AS (ORDER BY found.id ROWS UNBOUNDED PRECEDING)
    ) AS measured
    WHERE number = 1 OR (number <= $4 AND bytes <= $5)
) AS page ON true
WHERE s.name = $1
ORDER BY page.id
"""
"""One message more than asked for is looked at, which tells whether the page is complete; its body is not read."""

_GET = """
SELECT asked.place, message.id, message.body, message.published_at, message.expires_at, message.headers
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS asked (name, id, place)
JOIN broker.subjects AS s ON s.name = asked.name
CROSS JOIN LATERAL (
    SELECT * FROM broker.messages WHERE subject = s.key AND id = asked.id AND expires_at > $3 LIMIT 1
) AS message
"""
"""LIMIT keeps the planner from reading whole subjects when its statistics are old."""

_HEADS = "SELECT name, last_id FROM broker.subjects WHERE name = ANY ($1::text[])"

_BEFORE = """
WITH RECURSIVE asked AS (
    SELECT key, last_id FROM broker.subjects WHERE name = $1
), search (low, high) AS (
    SELECT 1::bigint, last_id + 1 FROM asked
    UNION ALL
    SELECT CASE WHEN probe.published_at < $2 THEN probe.id + 1 ELSE low END,
        CASE WHEN probe.published_at < $2 THEN high ELSE (low + high) / 2 END
    FROM search CROSS JOIN asked LEFT JOIN LATERAL (
        SELECT id, published_at FROM broker.messages
        WHERE subject = asked.key AND id >= (search.low + search.high) / 2 AND id < search.high
        ORDER BY id LIMIT 1
    ) AS probe ON true
    WHERE low < high
)
SELECT coalesce((
    SELECT id - 1 FROM broker.messages
    WHERE subject = asked.key AND id >= (SELECT max(low) FROM search) AND id <= last_id AND expires_at > $3
    ORDER BY id LIMIT 1
), last_id) FROM asked
"""
"""A binary search, since times rise with ids. A half without messages is left like one that is late enough."""

_USAGE = """
SELECT pg_total_relation_size('broker.messages') + pg_total_relation_size('broker.subjects')
    + pg_total_relation_size('broker.keys')
"""


class Reader:
    """Reads; any number of calls at a time."""

    def __init__(self, connections: Connections, patience: float, clock: Clock) -> None:
        self._connections = connections
        self._patience = patience
        self._clock = clock

    async def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """As Store.read."""
        rows = await self._fetch(_PAGE, subject, after_id, self._clock(), limit, max_bytes)
        if not rows:
            return Page([], 0, True)
        last_id, scanned = rows[0][0], rows[0][1]
        messages = [StoredMessage(*row[2:]) for row in rows] if scanned else []
        return Page(messages, last_id, len(messages) == (scanned or 0))

    async def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """As Store.get."""
        found: list[StoredMessage | None] = [None] * len(keys)
        names, ids = [name for name, _ in keys], [message_id for _, message_id in keys]
        for place, *message in await self._fetch(_GET, names, ids, self._clock()):
            found[place - 1] = StoredMessage._make(message)
        return found

    async def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """As Store.heads."""
        known = {row[0]: row[1] for row in await self._fetch(_HEADS, subjects)}
        return dict.fromkeys(subjects, 0) | known

    async def before(self, subject: str, published_at: int) -> int:
        """As Store.before."""
        rows = await self._fetch(_BEFORE, subject, published_at, self._clock())
        return int(rows[0][0]) if rows else 0

    async def usage(self) -> StoreUsage:
        """As Store.usage: the size of the tables, which PostgreSQL seldom makes smaller."""
        [(size,)] = await self._fetch(_USAGE)
        return StoreUsage(size, None)

    async def _fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        async def fetch(connection: Connection) -> list[asyncpg.Record]:
            return await connection.fetch(query, *arguments)

        return await self._connections.run(fetch, self._patience)
