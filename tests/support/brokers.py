"""Which brokers the integration suites run against, and how to look inside one from outside."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from broker.server.doors import EXTENSION
from tests.support.broker import BrokerProcess
from tests.support.stores import database_of

STORES = ["memory", "sqlite", "postgres"]
NATIVE = find_spec(EXTENSION) is not None
DOORS = ["grpcio", *(["native"] if NATIVE else [])]


@dataclass(frozen=True)
class Kind:
    """A store and a door."""

    store: str
    door: str

    @property
    def durable(self) -> bool:
        return self.store != "memory"

    @property
    def embedded(self) -> bool:
        """Whether the store is part of the broker's process, its files those of the test."""
        return self.store != "postgres"

    def process(
        self, directory: Path, *options: str, environment: dict[str, str] | None = None, **arguments: object
    ) -> BrokerProcess:
        """A broker of this kind with its data in a directory; not started."""
        place = [f"--sqlite-path={directory / 'broker.db'}"] if self.store == "sqlite" else []
        if self.store == "postgres":
            environment = {"BROKER_POSTGRES_DSN": database_of(directory), **(environment or {})}
        return BrokerProcess(f"--store={self.store}", f"--door={self.door}", *place, *options, environment=environment)

    @asynccontextmanager
    async def busy(self, directory: Path) -> AsyncIterator[None]:
        """Keep the store from committing, as another program may, such as a backup."""
        if self.store == "sqlite":
            with closing(sqlite3.connect(directory / "broker.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield
        else:
            connection = await asyncpg.connect(database_of(directory))
            async with connection.transaction():
                await connection.execute("LOCK TABLE broker.subjects IN EXCLUSIVE MODE")
                yield
            await connection.close()

    def __str__(self) -> str:
        return f"{self.store}-{self.door}"


KINDS = [Kind(store, door) for store in STORES for door in DOORS]


def http(broker: BrokerProcess, path: str) -> tuple[int, str]:
    """GET from the broker's HTTP port: status and text."""
    try:
        with urllib.request.urlopen(f"http://{broker.http}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(broker: BrokerProcess) -> dict[str, float]:
    """All series by name, as `name` or `name{label=value,…}` with labels in alphabetical order."""
    _, text = http(broker, "/metrics")
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def metric(broker: BrokerProcess, series: str) -> float:
    """The value of one series; 0 where it does not exist yet."""
    return (await asyncio.to_thread(metrics, broker)).get(series, 0.0)


def resident(broker: BrokerProcess) -> int:
    """Bytes of memory that the broker's process has."""
    return _memory(broker, "VmRSS")


def most_resident(broker: BrokerProcess) -> int:
    """Bytes of memory that the broker's process had at most, since it was started or `forget_most_resident`."""
    return _memory(broker, "VmHWM")


def forget_most_resident(broker: BrokerProcess) -> None:
    """Let `most_resident` begin anew."""
    Path(f"/proc/{broker.pid}/clear_refs").write_text("5")


def _memory(broker: BrokerProcess, name: str) -> int:
    for line in Path(f"/proc/{broker.pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has no memory")


async def eventually(true: Callable[[], Awaitable[bool]], what: str, within: float = 20.0) -> None:
    """Look again and again until something holds; `within` is how long something broken may take to say so."""
    deadline = time.monotonic() + within
    while not await true():
        assert time.monotonic() < deadline, f"in {within:.0f} s it did not come true that {what}"
        await asyncio.sleep(0.02)
