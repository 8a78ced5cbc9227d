"""The schema, and how it comes into the database: by whichever replica starts first."""

from broker.errors import StoreUnavailable
from broker.store.postgres.connections import Connection

LOCK = 0x42524B52_00000001
"""Advisory lock: who holds it changes the schema."""

CLEANING_LOCK = 0x42524B52_00000002
"""Advisory lock: who holds it deletes expired messages."""

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Rewritten by every commit: room in each page keeps the new version of a row beside the old one.
        """CREATE TABLE broker.subjects (
            key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text COLLATE "C" NOT NULL UNIQUE,
            last_id bigint NOT NULL DEFAULT 0,
            last_time bigint NOT NULL DEFAULT 0
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)""",
        # Vacuumed when a twentieth is dead, and without pauses, so that space is used again as fast as messages expire.
        """CREATE TABLE broker.messages (
            subject bigint NOT NULL,
            id bigint NOT NULL,
            published_at bigint NOT NULL,
            expires_at bigint NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (subject, id)
        ) WITH (
            autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 50000,
            autovacuum_vacuum_cost_delay = 0,
            toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 50000,
            toast.autovacuum_vacuum_cost_delay = 0
        )""",
        # Bodies are often compressed already; trying again would cost more than it saves.
        "ALTER TABLE broker.messages ALTER body SET STORAGE EXTERNAL",
        "CREATE INDEX messages_by_expiry ON broker.messages (expires_at)",
    ),
    (
        "ALTER TABLE broker.messages ADD headers bytea NOT NULL DEFAULT ''",
        "ALTER TABLE broker.messages ALTER headers SET STORAGE EXTERNAL",
        # Vacuumed as messages are: all of it comes and goes within the window of deduplication.
        """CREATE TABLE broker.keys (
            subject bigint NOT NULL,
            id bigint NOT NULL,
            expires_at bigint NOT NULL,
            key bytea NOT NULL,
            PRIMARY KEY (subject, key)
        ) WITH (
            autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 50000,
            autovacuum_vacuum_cost_delay = 0
        )""",
        "CREATE INDEX keys_by_expiry ON broker.keys (expires_at)",
        # Tells brokers on the same database from others.
        "ALTER TABLE broker.version ADD identity uuid NOT NULL DEFAULT gen_random_uuid()",
    ),
)
"""What leads from each version of the schema to the next; never edited, only added to."""


async def migrate(connection: Connection, where: str) -> str:
    """Create the schema or bring it up to date; one replica does it, the others wait for it.

    Returns:
        The identity of the database, which it got with its schema.

    Raises:
        StoreUnavailable: the schema is of a newer release, or the database cannot hold messages.
    """
    if await connection.fetchval("SHOW server_encoding") != "UTF8":
        raise StoreUnavailable(f"the database {where} is not in UTF8: create it with ENCODING 'UTF8'")
    if await _version(connection) != len(_MIGRATIONS):
        await _bring_up_to_date(connection, where)
    return str(await connection.fetchval("SELECT identity FROM broker.version"))


async def _bring_up_to_date(connection: Connection, where: str) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        version = await _version(connection)
        if version > len(_MIGRATIONS):
            raise StoreUnavailable(
                f"the database {where} has schema version {version}, this broker knows versions up to "
                f"{len(_MIGRATIONS)}: run the newer release that wrote it, or restore an older backup"
            )
        if version == 0:
            await connection.execute("CREATE SCHEMA IF NOT EXISTS broker")
            await connection.execute("CREATE TABLE broker.version (version integer NOT NULL)")
            await connection.execute("INSERT INTO broker.version VALUES (0)")
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                await connection.execute(statement)
        await connection.execute("UPDATE broker.version SET version = $1", len(_MIGRATIONS))


async def _version(connection: Connection) -> int:
    # Not by to_regclass: it answers from a cache, which may not know what another replica has just created.
    if not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'broker' AND tablename = 'version')"
    ):
        return 0
    return int(await connection.fetchval("SELECT version FROM broker.version"))
