"""Brokers on one store behind two Envoys, all of them processes of this machine which can be broken one by one."""

import asyncio
import random
import socket
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import permutations
from pathlib import Path
from typing import Self

from tests.history.proxies import EnvoyProcess
from tests.support.broker import BrokerProcess
from tests.support.cutter import Cutter
from tests.support.postgres import PostgresServer

PROXIES = 2

# Little room everywhere, so that a moderate load comes to where queues are full and memory does not reach back.
_OPTIONS = [
    "--subscription-queue-bytes=64Ki",
    "--cache-bytes=256Ki",
    "--store-wait=60",
    "--drain-timeout=15",
]


class Cluster:
    """As many brokers as asked for, and with PostgreSQL one more that comes and goes.

    Each broker reaches each other through a line of its own (`lines[follower, followed]`), so any two can be cut off
    from each other. Ports stay the same over restarts.

    Args:
        store: "postgres" (any number of brokers), or "sqlite" (one).
        replicas: how many brokers run when all is whole.
        directory: for logs and files.
        peers: whether the brokers know each other; otherwise what others commit reaches them through the store only.
        doors: of the brokers, in turn.
    """

    def __init__(
        self, store: str, replicas: int, directory: Path, *, peers: bool = True, doors: Sequence[str] = ("auto",)
    ) -> None:
        self.store = store
        self._peers = peers
        self._doors = doors
        self.replicas = replicas
        self.spare = replicas if store == "postgres" else None
        """The broker that runs only while a replica is added."""
        self.directory = directory
        self.brokers: list[BrokerProcess] = []
        self.proxies: list[EnvoyProcess] = []
        self.lines: dict[tuple[int, int], Cutter] = {}
        self.database: PostgresServer | None = None
        self._ports = ports_below_ephemeral()
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def until_whole(self) -> None:
        """Wait until both Envoys reach all brokers that run."""
        running = sum(broker.running for broker in self.brokers)
        for proxy in self.proxies:
            await proxy.until_healthy(running)

    @property
    def direct(self) -> list[str]:
        """The brokers as targets for clients without Envoy: each begins with another broker and knows all of them."""
        addresses = [broker.address for broker in self.brokers]
        rotated = [addresses[at:] + addresses[:at] for at in range(self.replicas)]
        return [f"ipv4:{','.join(each)}" for each in rotated]

    def keep_logs(self) -> None:
        """Write what the brokers and the database said to the directory."""
        for number, broker in enumerate(self.brokers):
            (self.directory / f"broker-{number}.log").write_text(broker.log)
        if self.database is not None and self.database.log.exists():
            (self.directory / "postgres.log").write_bytes(self.database.log.read_bytes())

    async def _start(self) -> None:
        environment, options = {}, [f"--store={self.store}", *_OPTIONS]
        slots = range(self.replicas + (self.spare is not None))
        if self.store == "postgres":
            self.database = PostgresServer()
            self.database.port = next(self._ports)
            self._resources.callback(self.database.remove)
            await asyncio.to_thread(self.database.create)
            await asyncio.to_thread(self.database.start)
            environment["BROKER_POSTGRES_DSN"] = await asyncio.to_thread(self.database.new_database)
        else:
            options.append(f"--sqlite-path={self.directory / 'broker.db'}")
        internal = [next(self._ports) for _ in slots]
        for pair in permutations(slots, 2) if self._peers else ():
            self.lines[pair] = await self._resources.enter_async_context(Cutter(internal[pair[1]]))
        for slot in slots:
            peers = [f"127.0.0.1:{line.port}" for (follower, _), line in self.lines.items() if follower == slot]
            meet = [f"--peers={','.join(peers)}", f"--peer-listen=127.0.0.1:{internal[slot]}"] if peers else []
            door = f"--door={self._doors[slot % len(self._doors)]}"
            broker = BrokerProcess(*options, door, *meet, environment=environment)
            broker.address, broker.http = (f"127.0.0.1:{next(self._ports)}" for _ in range(2))
            self.brokers.append(broker)
        self._resources.push_async_callback(self._stop_brokers)
        await asyncio.gather(*(asyncio.to_thread(broker.start) for broker in self.brokers[: self.replicas]))
        ports = [int(broker.address.rpartition(":")[2]) for broker in self.brokers]
        for _ in range(PROXIES):
            proxy = EnvoyProcess(next(self._ports), ports)
            self._resources.push_async_callback(proxy.remove)
            self.proxies.append(proxy)
        await asyncio.gather(*(proxy.start() for proxy in self.proxies))
        await self.until_whole()

    async def _stop_brokers(self) -> None:
        for broker in self.brokers:
            if broker.running:
                await asyncio.to_thread(broker.kill)
        self.keep_logs()


def ports_below_ephemeral() -> Iterator[int]:
    """Yield free ports which no outgoing connection takes while their process is down."""
    # Linux gives those from 32768 on to outgoing connections.
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
