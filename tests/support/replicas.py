"""Several real brokers on one real PostgreSQL, each following the others through connections that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.support.broker import BrokerProcess
from tests.support.cutter import Cutter
from tests.support.postgres import free_port, shared_server


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
    ports = [free_port() for _ in range(count)]
    async with AsyncExitStack() as stack:
        links = {}
        for a in range(count):
            for b in range(count):
                if a != b:
                    links[a, b] = await stack.enter_async_context(Cutter(ports[b]))
                    links[a, b].refusing = blocked
        brokers = []
        for number in range(count):
            peers = ",".join(f"127.0.0.1:{links[number, other].port}" for other in range(count) if other != number)
            broker = BrokerProcess(
                "--store=postgres",
                f"--peer-listen=127.0.0.1:{ports[number]}",
                *([f"--peers={peers}"] if peers else []),
                *options,
                environment={"BROKER_POSTGRES_DSN": dsn},
            )
            brokers.append(await stack.enter_async_context(broker))
        yield Replicas(brokers, links)
