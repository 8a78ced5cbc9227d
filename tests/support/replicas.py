"""Several real brokers on one real PostgreSQL, each following the others through connections that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations

from tests.support.broker import BrokerProcess
from tests.support.cutter import Cutter
from tests.support.postgres import shared_server


class Replicas:
    """Brokers on one database. `links[a, b]` is the connection by which a follows b."""

    def __init__(self, brokers: list[BrokerProcess], links: dict[tuple[int, int], Cutter]) -> None:
        self.brokers = brokers
        self.links = links

    def __getitem__(self, number: int) -> BrokerProcess:
        return self.brokers[number]

    @property
    def addresses(self) -> list[str]:
        return [broker.address for broker in self.brokers]


@asynccontextmanager
async def replicas(count: int, *options: str, dsn: str | None = None, blocked: bool = False) -> AsyncIterator[Replicas]:
    """Running brokers; `blocked` ones cannot reach each other."""
    dsn = dsn or await asyncio.to_thread(lambda: shared_server().new_database())
    brokers: list[BrokerProcess] = []

    def peers_port(number: int) -> Callable[[], int]:
        return lambda: int(brokers[number].peers.rpartition(":")[2] or 0) if number < len(brokers) else 0

    async with AsyncExitStack() as stack:
        links = {}
        for a, b in permutations(range(count), 2):
            links[a, b] = await stack.enter_async_context(Cutter(peers_port(b)))
            links[a, b].refusing = blocked
        for number in range(count):
            peers = ",".join(f"127.0.0.1:{link.port}" for (follower, _), link in links.items() if follower == number)
            broker = BrokerProcess(
                "--store=postgres",
                "--peer-listen=127.0.0.1:0",
                *([f"--peers={peers}"] if peers else []),
                *options,
                environment={"BROKER_POSTGRES_DSN": dsn},
            )
            brokers.append(broker)
            await stack.enter_async_context(broker)
        yield Replicas(brokers, links)
