"""The statements that append: what they lock, count and insert, they do in one round trip.

Subjects' rows are locked in the order of their keys, so two replicas that append to the same subjects at the same time
wait for each other and never in a circle. The lock is held until the commit: ids are given in the order of commits.
What belongs to a subject, its messages and the keys of its messages, is only changed by who holds its row.
"""

LEARN = """
WITH new AS (
    INSERT INTO broker.subjects (name)
    SELECT name FROM unnest($1::text[]) AS asked (name) ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO NOTHING RETURNING name, key
)
SELECT name, key FROM new UNION ALL SELECT name, key FROM broker.subjects WHERE name = ANY ($1::text[])
"""
"""Makes subjects that do not exist, and tells the keys of all but those that another replica makes right now."""

# Nothing but these constants is put together here.
_COUNTED = """
WITH locked AS MATERIALIZED (
    SELECT s.key, asked.count FROM broker.subjects AS s
    JOIN unnest($1::bigint[], $2::integer[]) AS asked (key, count) ON s.key = asked.key
    ORDER BY s.key FOR UPDATE OF s
), counted AS (
    UPDATE broker.subjects AS s
    SET last_id = s.last_id + locked.count, last_time = greatest(s.last_time, $3)
    FROM locked WHERE s.key = locked.key
    RETURNING s.key, s.last_id - locked.count AS base, s.last_time
)"""

_COUNTED_ONE = """
WITH counted AS (
    UPDATE broker.subjects SET last_id = last_id + $2::integer, last_time = greatest(last_time, $3)
    WHERE key = $1 RETURNING last_id - $2::integer AS base, last_time
)"""

APPEND = f"""{_COUNTED}, stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body)
    SELECT counted.key, counted.base + message.number, counted.last_time, message.expires_at, message.body
    FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::bytea[]) AS message (key, number, expires_at, body)
    JOIN counted ON counted.key = message.key
)
SELECT key, base FROM counted
"""  # noqa: S608

APPEND_TO_ONE = f"""{_COUNTED_ONE}, stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body)
    SELECT $1, counted.base + message.number, counted.last_time, message.expires_at, message.body
    FROM counted CROSS JOIN unnest($4::integer[], $5::bigint[], $6::bytea[]) AS message (number, expires_at, body)
)
SELECT $1::bigint AS key, base FROM counted
"""  # noqa: S608
"""The same for a single subject, which is cheaper."""

EXTENDED_APPEND = f"""{_COUNTED}, stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body, headers)
    SELECT counted.key, counted.base + message.number, counted.last_time, message.expires_at, message.body,
        coalesce(message.headers, '')
    FROM unnest($4::bigint[], $5::integer[], $6::bigint[], $7::bytea[], $8::bytea[])
        AS message (key, number, expires_at, body, headers)
    JOIN counted ON counted.key = message.key
), named AS (
    INSERT INTO broker.keys (subject, id, expires_at, key)
    SELECT counted.key, counted.base + named.number, $12, named.name
    FROM unnest($9::bigint[], $10::integer[], $11::bytea[]) AS named (key, number, name)
    JOIN counted ON counted.key = named.key
)
SELECT key, base FROM counted
"""  # noqa: S608
"""The same for messages of which some have headers or keys; it fails when one of the keys is there.

The array of headers may be empty instead of full of empty ones."""

EXTENDED_APPEND_TO_ONE = f"""{_COUNTED_ONE}, stored AS (
    INSERT INTO broker.messages (subject, id, published_at, expires_at, body, headers)
    SELECT $1, counted.base + message.number, counted.last_time, message.expires_at, message.body,
        coalesce(message.headers, '')
    FROM counted CROSS JOIN unnest($4::integer[], $5::bigint[], $6::bytea[], $7::bytea[])
        AS message (number, expires_at, body, headers)
), named AS (
    INSERT INTO broker.keys (subject, id, expires_at, key)
    SELECT $1, counted.base + named.number, $10, named.name
    FROM counted CROSS JOIN unnest($8::integer[], $9::bytea[]) AS named (number, name)
)
SELECT $1::bigint AS key, base FROM counted
"""  # noqa: S608

LOCK = "SELECT key, last_id FROM broker.subjects WHERE key = ANY ($1::bigint[]) ORDER BY key FOR UPDATE"

SIFT = """
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) AS asked (place, subject, name)
), gone AS (
    DELETE FROM broker.keys WHERE ctid = ANY (ARRAY(
        SELECT due.ctid FROM asked CROSS JOIN LATERAL (
            SELECT ctid FROM broker.keys WHERE subject = asked.subject AND key = asked.name AND expires_at <= $4 LIMIT 1
        ) AS due
    ))
)
SELECT asked.subject, asked.place, known.id FROM asked CROSS JOIN LATERAL (
    SELECT id FROM broker.keys WHERE subject = asked.subject AND key = asked.name AND expires_at > $4 LIMIT 1
) AS known
"""
"""Tells which keys are there, and deletes those whose time has come.

It has to be a statement of its own after LOCK: a statement does not see what was committed while it waited for a row.
LIMIT keeps the planner from reading the whole table when its statistics are old. No key is ever updated, so a row stays
where it is until it is deleted.
"""
