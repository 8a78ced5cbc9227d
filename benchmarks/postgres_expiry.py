"""How deleting expired messages keeps up with publishing, for two designs of PostgreSQL's messages table.

    python benchmarks/postgres_expiry.py [--design deletes] [--rate 10000] [--expiry 60] [--seconds 600]

`deletes` is the store as it is: one table, expired messages deleted in batches by an index on expiry. `partitions`
puts a table partitioned by expiry in its place, whose partitions are dropped when all in them has expired.

A paced load runs for so many seconds, while expired messages are removed as the broker does it. Every tenth of the run
prints the rate reached, how long appends took, how long 100 keys took to get, the size of the table on the disk, and
what was removed. Before and after the paced load an unpaced one tells what the store can take. A server is started
for it in the temporary directory, or give --dsn of an empty database that its role owns.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable

import asyncpg

from broker.store import NewMessage, PostgresStore, wall_clock
from tests.support.postgres import new_server

BODY = b"x" * 100
SUBJECTS = [f"subject-{number}" for number in range(20)]
BATCH = 100
"""Messages in one append."""
UNPACED_SECONDS = 5.0

Remove = Callable[[], Awaitable[int]]


class Partitions:
    """A table partitioned by expiry, in slices of equal width; made ahead, dropped when they are due."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", expiry: float) -> None:
        self._connection = connection
        self._width = max(int(expiry * 1000 / 6), 1000)
        self._expiry = int(expiry * 1000)
        self._slices: list[int] = []

    async def make(self) -> None:
        await self._connection.execute(
            "DROP TABLE broker.messages;"
            "CREATE TABLE broker.messages (subject bigint NOT NULL, id bigint NOT NULL, published_at bigint NOT NULL,"
            " expires_at bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (subject, id, expires_at))"
            " PARTITION BY RANGE (expires_at)"
        )
        await self.remove()

    async def remove(self) -> int:
        now = wall_clock()
        # As far ahead as the longest expiry, and some slices more.
        first = now // self._width
        for number in range(first, (now + self._expiry) // self._width + 4):
            if number not in self._slices:
                await self._connection.execute(
                    f"CREATE TABLE broker.slice_{number} PARTITION OF broker.messages"
                    f" FOR VALUES FROM ({number * self._width}) TO ({(number + 1) * self._width})"
                )
                self._slices.append(number)
        removed = 0
        for number in [number for number in self._slices if number < first]:
            removed += await self._connection.fetchval(f"SELECT count(*) FROM broker.slice_{number}")
            await self._connection.execute(f"DROP TABLE broker.slice_{number}")
            self._slices.remove(number)
        return removed


class Load:
    """Appends to the store and remembers what it saw since the last report."""

    def __init__(self, store: PostgresStore, expiry: float) -> None:
        self._store = store
        self._life = int(expiry * 1000)
        self._turn = 0
        self.appends: list[float] = []
        self.gets: list[float] = []
        self.removed = 0

    async def append(self) -> None:
        now = wall_clock()
        message = NewMessage(BODY, now + self._life)
        self._turn += 1
        # Five subjects of the twenty in each append.
        names = [SUBJECTS[(5 * self._turn + number) % len(SUBJECTS)] for number in range(5)]
        began = time.perf_counter()
        await self._store.append({name: [message] * (BATCH // 5) for name in names}, now, now)
        self.appends.append(time.perf_counter() - began)

    async def paced(self, rate: float, seconds: float) -> None:
        began = time.perf_counter()
        for number in range(int(seconds * rate / BATCH)):
            await asyncio.sleep(max(0.0, began + number * BATCH / rate - time.perf_counter()))
            await self.append()

    async def unpaced(self) -> float:
        """Return messages a second."""
        began = time.perf_counter()
        count = 0
        while time.perf_counter() < began + UNPACED_SECONDS:
            await self.append()
            count += BATCH
        return count / (time.perf_counter() - began)

    async def remove(self, remove: Remove, full: int) -> None:
        while True:
            removed = await remove()
            self.removed += removed
            await asyncio.sleep(0.01 if removed >= full else 1.0)

    async def get(self) -> None:
        while True:
            heads = await self._store.heads(SUBJECTS)
            keys = [(name, random.randint(max(1, head - 5000), head)) for name, head in heads.items() if head] * 5
            began = time.perf_counter()
            await self._store.get(keys)
            self.gets.append(time.perf_counter() - began)
            await asyncio.sleep(0.5)


def milliseconds(durations: list[float]) -> str:
    if len(durations) < 2:
        return "-"
    hundredths = statistics.quantiles(durations, n=100)
    return f"{hundredths[49] * 1000:.1f} / {hundredths[98] * 1000:.1f}"


async def run(dsn: str, options: argparse.Namespace) -> None:
    store = PostgresStore(dsn)
    await store.open()
    aside = await asyncpg.connect(dsn)
    remove: Remove = lambda: store.expire(10_000)  # noqa: E731
    if options.design == "partitions":
        partitions = Partitions(aside, options.expiry)
        await partitions.make()
        remove = partitions.remove
    load = Load(store, options.expiry)
    sizing = await asyncpg.connect(dsn)
    print(f"design {options.design}: {await load.unpaced():,.0f} messages/s unpaced, on the empty table")
    tasks = [asyncio.create_task(load.remove(remove, 10_000)), asyncio.create_task(load.get())]
    print("| s | messages/s | append p50 / p99, ms | get of 100 p50 / p99, ms | table, MB | removed |")
    print("| --- | --- | --- | --- | --- | --- |")
    began = time.perf_counter()
    for _ in range(10):
        load.appends, load.gets, load.removed = [], [], 0
        step = time.perf_counter()
        await load.paced(options.rate, options.seconds / 10)
        reached = len(load.appends) * BATCH / (time.perf_counter() - step)
        size = await sizing.fetchval(
            "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
            " WHERE relnamespace = 'broker'::regnamespace AND relkind = 'r'"
        )
        print(
            f"| {time.perf_counter() - began:.0f} | {reached:,.0f} | {milliseconds(load.appends)}"
            f" | {milliseconds(load.gets)} | {size / 1e6:.0f} | {load.removed:,} |",
            flush=True,
        )
    print(f"{await load.unpaced():,.0f} messages/s unpaced, on the full table while messages are removed", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.close()
    await aside.close()
    await sizing.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--design", choices=("deletes", "partitions"), default="deletes")
    parser.add_argument("--rate", type=float, default=10_000, help="messages a second (default 10000)")
    parser.add_argument("--expiry", type=float, default=60, help="seconds until a message expires (default 60)")
    parser.add_argument("--seconds", type=float, default=600, help="how long the paced load runs (default 600)")
    parser.add_argument("--dsn", help="an empty database; without it, a server is started")
    options = parser.parse_args()
    if options.dsn:
        asyncio.run(run(options.dsn, options))
        return
    server = new_server(16, "shared_buffers=512MB", "max_wal_size=4GB")
    try:
        asyncio.run(run(server.new_database(), options))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
