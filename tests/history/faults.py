"""What can break, and how it is made whole again: each fault is a context, broken inside it and whole after it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from tests.history.cluster import Cluster
from tests.support.cutter import Cutter
from tests.support.postgres import PostgresServer

Struck = Literal["broker", "proxy", "database", "peers", "spare"]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: for people and the history.
        of: what it strikes.
        shortest, longest: how long it lasts, in seconds, without the time that breaking and healing take.
        broken: breaks what has this number, and heals it; for peers, it is the number of the broker to cut off.
    """

    name: str
    of: Struck
    shortest: float
    longest: float
    broken: Callable[[Cluster, int], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _killed_broker(cluster: Cluster, number: int) -> AsyncIterator[None]:
    broker = cluster.brokers[number]
    await asyncio.to_thread(broker.kill)
    yield
    await asyncio.to_thread(broker.start)


@asynccontextmanager
async def _paused_broker(cluster: Cluster, number: int) -> AsyncIterator[None]:
    broker = cluster.brokers[number]
    broker.pause()
    try:
        yield
    finally:
        broker.resume()


@asynccontextmanager
async def _drained_broker(cluster: Cluster, number: int) -> AsyncIterator[None]:
    broker = cluster.brokers[number]
    broker.terminate()
    await asyncio.to_thread(broker.wait)
    yield
    await asyncio.to_thread(broker.start)


@asynccontextmanager
async def _added_broker(cluster: Cluster, _: int) -> AsyncIterator[None]:
    assert cluster.spare is not None
    broker = cluster.brokers[cluster.spare]
    await asyncio.to_thread(broker.start)
    yield
    broker.terminate()
    await asyncio.to_thread(broker.wait)


@asynccontextmanager
async def _killed_proxy(cluster: Cluster, number: int) -> AsyncIterator[None]:
    proxy = cluster.proxies[number]
    await proxy.kill()
    yield
    await proxy.start()


@asynccontextmanager
async def _paused_proxy(cluster: Cluster, number: int) -> AsyncIterator[None]:
    proxy = cluster.proxies[number]
    proxy.pause()
    try:
        yield
    finally:
        proxy.resume()


@asynccontextmanager
async def _crashed_database(cluster: Cluster, _: int) -> AsyncIterator[None]:
    """An immediate stop: after it, the database recovers from its log."""
    database = _database(cluster)
    await asyncio.to_thread(database.stop, signal.SIGQUIT)
    yield
    await asyncio.to_thread(database.start)


@asynccontextmanager
async def _restarted_database(cluster: Cluster, _: int) -> AsyncIterator[None]:
    database = _database(cluster)
    await asyncio.to_thread(database.stop)
    yield
    await asyncio.to_thread(database.start)


@asynccontextmanager
async def _paused_database(cluster: Cluster, _: int) -> AsyncIterator[None]:
    database = _database(cluster)
    database.pause()
    try:
        yield
    finally:
        database.resume()


@asynccontextmanager
async def _cut_database(cluster: Cluster, _: int) -> AsyncIterator[None]:
    await asyncio.to_thread(_database(cluster).cut_connections)
    yield


@asynccontextmanager
async def _cut_pair(cluster: Cluster, number: int) -> AsyncIterator[None]:
    pair = {number, (number + 1) % cluster.replicas}
    async with _cut(line for ends, line in cluster.lines.items() if set(ends) == pair):
        yield


@asynccontextmanager
async def _cut_off(cluster: Cluster, number: int) -> AsyncIterator[None]:
    async with _cut(line for ends, line in cluster.lines.items() if number in ends):
        yield


@asynccontextmanager
async def _cut_all(cluster: Cluster, _: int) -> AsyncIterator[None]:
    async with _cut(cluster.lines.values()):
        yield


@asynccontextmanager
async def _silenced(cluster: Cluster, number: int) -> AsyncIterator[None]:
    """Connections stay, and nothing passes: what was swallowed is lost, so they are cut at the end."""
    lines = [line for ends, line in cluster.lines.items() if number in ends]
    for line in lines:
        line.silent = True
    try:
        yield
    finally:
        for line in lines:
            line.cut()
            line.silent = False


@asynccontextmanager
async def _cut(lines: Iterable[Cutter]) -> AsyncIterator[None]:
    struck = list(lines)
    for line in struck:
        line.refusing = True
        line.cut()
    try:
        yield
    finally:
        for line in struck:
            line.refusing = False


def _database(cluster: Cluster) -> PostgresServer:
    assert cluster.database is not None
    return cluster.database


KINDS = (
    Kind("kill a broker", "broker", 0.0, 3.0, _killed_broker),
    Kind("pause a broker", "broker", 1.0, 8.0, _paused_broker),
    Kind("drain a broker", "broker", 0.0, 3.0, _drained_broker),
    Kind("add and remove a broker", "spare", 3.0, 8.0, _added_broker),
    Kind("kill an Envoy", "proxy", 0.0, 3.0, _killed_proxy),
    Kind("pause an Envoy", "proxy", 1.0, 8.0, _paused_proxy),
    Kind("crash PostgreSQL", "database", 0.0, 3.0, _crashed_database),
    Kind("restart PostgreSQL", "database", 0.0, 2.0, _restarted_database),
    Kind("pause PostgreSQL", "database", 1.0, 5.0, _paused_database),
    Kind("end all database connections", "database", 0.0, 0.0, _cut_database),
    Kind("cut two brokers from each other", "peers", 1.0, 8.0, _cut_pair),
    Kind("cut a broker from its peers", "peers", 1.0, 8.0, _cut_off),
    Kind("cut all peers from each other", "peers", 1.0, 8.0, _cut_all),
    Kind("silence a broker's peers", "peers", 1.0, 8.0, _silenced),
)
"""Everything that is done to a cluster."""
