"""How many messages a second each store commits, through the Store contract.

    python benchmarks/store_append.py [--seconds 1] [--rounds 3] [--directory DIR] [--keys] [--headers]
        [--stores memory,sqlite,postgres,raw]

Each case is a closed loop of so many publishers, evenly over so many subjects: every publisher has one message of 100
bytes in each batch, and the next batch is appended when the last one is acknowledged. With --keys each message has a
key as the client makes them, 8 random bytes for each publisher and a counter; with --headers it has 40 bytes of
headers. Rounds of all cases are interleaved. DIR decides which disk SQLite's figures speak of; the cost of one
fdatasync there is printed first.

`raw` is what PostgreSQL can take at all: the same rows, with ids that the client makes up, inserted into the same table
with one prepared statement and no broker. PostgreSQL is started for this in the temporary directory, with its default
settings; it shares the processors with this program.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import asyncpg
import uvloop

from broker.errors import Refused
from broker.store import Appended, MemoryStore, NewMessage, PostgresStore, SqliteStore, wall_clock
from broker.store.contract import Batch
from tests.support.postgres import shared_server

CASES = ((1, 1), (32, 1), (256, 1), (2048, 1), (256, 100), (2048, 100))
"""Publishers and subjects."""

BODY = b"x" * 100
HEADERS = b"h" * 40
WINDOW = 120_000
"""Milliseconds that keys are remembered."""

LIFE = 3_600_000
"""Milliseconds until a message expires."""


class Case(NamedTuple):
    """What is appended."""

    publishers: int
    subjects: int
    keys: bool
    headers: bool


Round = tuple[float, list[float]]
"""Messages a second, and how long each append took (s)."""


class Appends(Protocol):
    """What is measured of a store."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]: ...


class RawPostgres:
    """Inserts into the store's table, without its counters and guarantees."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._heads: dict[str, int] = {}

    async def open(self) -> None:
        store = PostgresStore(self._dsn)  # makes the table
        await store.open()
        await store.close()
        self._connection = await asyncpg.connect(self._dsn)

    async def close(self) -> None:
        await self._connection.close()

    async def append(self, batch: Batch, published_at: int, _: int) -> dict[str, Appended | Refused]:
        keys: list[int] = []
        ids: list[int] = []
        for name, messages in batch.items():
            head = self._heads.get(name, 0)
            self._heads[name] = head + len(messages)
            keys += [int(name.rpartition("-")[2])] * len(messages)
            ids += range(head + 1, head + len(messages) + 1)
        every = [message for messages in batch.values() for message in messages]
        await self._connection.execute(
            "INSERT INTO broker.messages (subject, id, published_at, expires_at, body)"
            " SELECT key, id, $3, expires_at, body"
            " FROM unnest($1::bigint[], $2::bigint[], $4::bigint[], $5::bytea[]) AS row (key, id, expires_at, body)",
            keys, ids, published_at, [message.expires_at for message in every], [message.body for message in every],
        )  # fmt: skip
        return {}


MAKERS: dict[str, Callable[[Path], Appends]] = {
    "memory": lambda _: MemoryStore(4 * 2**30),
    "sqlite": lambda directory: SqliteStore(directory / "broker.db"),
    "postgres": lambda _: PostgresStore(shared_server().new_database()),
    "raw": lambda _: RawPostgres(shared_server().new_database()),
}


async def measure(store: Appends, case: Case, seconds: float) -> Round:
    publishers = case.publishers
    names = [f"subject-{number}" for number in range(case.subjects)]
    prefixes = [os.urandom(8) if case.keys else b"" for _ in range(publishers)]
    headers = HEADERS if case.headers else b""
    turn = 0
    appended = 0
    durations: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        published_at = wall_clock()
        message = NewMessage(BODY, published_at + LIFE, headers)
        counter = turn.to_bytes(8)
        batch: dict[str, list[NewMessage]] = {}
        for publisher, prefix in enumerate(prefixes, turn * publishers):
            named = message._replace(key=prefix + counter) if case.keys else message
            batch.setdefault(names[publisher % case.subjects], []).append(named)
        turn += 1
        before = time.perf_counter()
        await store.append(batch, published_at, published_at + WINDOW)
        now = time.perf_counter()
        durations.append(now - before)
        appended += publishers
    return appended / (now - start), durations


async def run(make: Callable[[Path], Appends], directory: Path, case: Case, seconds: float) -> Round:
    with tempfile.TemporaryDirectory(dir=directory) as place:
        store = make(Path(place))
        await store.open()
        try:
            await measure(store, case, seconds / 5)
            return await measure(store, case, seconds)
        finally:
            await store.close()


def sync_cost(directory: Path) -> float:
    """Return the median of one appended page's fdatasync, in microseconds."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        costs = []
        for _ in range(200):
            file.write(b"x" * 4096)
            before = time.perf_counter()
            os.fdatasync(file.fileno())
            costs.append(time.perf_counter() - before)
    return statistics.median(costs) * 1e6


def print_row(name: str, case: Case, rounds: list[Round]) -> None:
    rates = sorted(rate for rate, _ in rounds)
    times = statistics.quantiles([duration * 1000 for _, durations in rounds for duration in durations], n=100)
    rate = f"{statistics.median(rates):,.0f} | [{rates[0]:,.0f} - {rates[-1]:,.0f}]"
    print(f"| {name} | {case.publishers} x {case.subjects} | {rate} | {times[49]:.2f} / {times[98]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each round measures (default 1)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is measured (default 3)")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="where SQLite's files go")
    parser.add_argument("--stores", default=",".join(MAKERS), help="comma-separated (default: all)")
    parser.add_argument("--keys", action="store_true", help="messages have keys")
    parser.add_argument("--headers", action="store_true", help="messages have headers")
    options = parser.parse_args()
    cases = [Case(*case, options.keys, options.headers) for case in CASES]

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; ", end="")
    print(f"one fdatasync takes {sync_cost(options.directory):.0f} us\n")
    kinds = options.stores.split(",")
    results: dict[tuple[str, Case], list[Round]] = {}
    for _ in range(options.rounds):
        for kind in kinds:
            for case in cases:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    measured = runner.run(run(MAKERS[kind], options.directory, case, options.seconds))
                results.setdefault((kind, case), []).append(measured)
    print("| store | publishers x subjects | messages/s, median | spread | append p50 / p99, ms |")
    print("| --- | --- | --- | --- | --- |")
    for (kind, case), rounds in results.items():
        print_row(kind, case, rounds)


if __name__ == "__main__":
    main()
