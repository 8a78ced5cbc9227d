"""Brokers and proxies are replaced under load, also by clients that try nothing again."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.client import connect, outbox
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS
from tests.support.client import HOUR, take
from tests.support.cutter import Cutter
from tests.support.envoy import Caller, Proxy, caller, running_envoy
from tests.support.postgres import shared_server

DRAIN = Path(__file__).parents[3] / "proxy" / "drain.py"
CALLERS = 30
SPECS = {"least-request": {}, "subject": {"proxy": {"balancing": "Subject"}}}


class Load:
    """Publishes from several tasks, each one message after the other, and opens subscriptions; counts what fails."""

    def __init__(self, client: Caller) -> None:
        self.client = client
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self._running = True
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(CALLERS)]

    async def more(self, calls: int) -> None:
        """Wait until so many more were answered."""
        until = self.answered + calls
        async with asyncio.timeout(30):
            while self.answered < until:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)

    async def _publish(self, publisher: int) -> None:
        number = 0
        while self._running:
            number += 1
            if number % 20 == 0:
                await self._subscribe()
            try:
                await self.client.publish(f"subject-{publisher}-{number % 7}", b"x" * 100)
            except grpc.aio.AioRpcError as error:
                self.failures[f"{error.code().name}: {error.details()}"] += 1
            else:
                self.answered += 1

    async def _subscribe(self) -> None:
        """Not too often: to Envoy, one who opens more than he keeps is an attacker."""
        stream = self.client.subscribe("subject-0-0")
        await stream.initial_metadata()
        # One that stands is ended when its broker drains; one that is refused must have been sent elsewhere.
        if stream.done() and "x-broker-retry" in dict(await stream.trailing_metadata()):
            self.failures[f"subscription: {await stream.details()}"] += 1
        stream.cancel()


@asynccontextmanager
async def two_brokers(spec: dict[str, Any], door: str) -> AsyncIterator[tuple[list[BrokerProcess], Proxy, Caller]]:
    environment = {"BROKER_POSTGRES_DSN": await asyncio.to_thread(lambda: shared_server().new_database())}
    async with AsyncExitStack() as stack:
        brokers = [
            await stack.enter_async_context(
                BrokerProcess("--store=postgres", f"--door={door}", environment=environment)
            )
            for _ in range(2)
        ]
        ports = [int(broker.address.rpartition(":")[2]) for broker in brokers]
        proxy = await stack.enter_async_context(running_envoy(spec, ports))
        await proxy.until_healthy(2)
        yield brokers, proxy, await stack.enter_async_context(caller(proxy.address))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("spec", SPECS)
async def test_brokers_are_replaced_one_by_one_and_no_publish_fails(spec: str, door: str) -> None:
    async with two_brokers(SPECS[spec], door) as (brokers, proxy, client):
        load = Load(client)
        await load.more(300)
        for broker in brokers:
            broker.terminate()
            assert await asyncio.to_thread(broker.wait) == 0
            await load.more(300)
            await asyncio.to_thread(broker.restart)
            await proxy.until_healthy(2)
            await load.more(300)
        await load.stop()
        assert load.failures == {}


@pytest.mark.parametrize("door", DOORS)
async def test_a_broker_is_killed_and_only_what_it_had_fails(door: str) -> None:
    """What it had on its table nobody can tell: to publish that again might store it twice."""
    async with two_brokers({}, door) as (brokers, _, client):
        load = Load(client)
        await load.more(300)
        await asyncio.to_thread(brokers[0].kill)
        await load.more(1000)
        await load.stop()
        print(f"failed of {CALLERS} under way: {dict(load.failures)}")
        assert sum(load.failures.values()) <= CALLERS
        assert all(failure.startswith(("UNAVAILABLE", "INTERNAL")) for failure in load.failures)


def ready(proxies: list[Proxy]) -> Callable[[], int]:
    """As a Service does: new connections go to the proxies that are ready, one after the other."""
    turns = count()

    def choose() -> int:
        able = [proxy for proxy in proxies if proxy.admin("/ready").strip() == "LIVE"]
        return int(able[next(turns) % len(able)].address.rpartition(":")[2])

    return choose


async def end_as_a_pod(proxy: Proxy, budget: float) -> str:
    """The preStop hook, then SIGTERM; returns what the hook said."""
    options = [f"--socket={proxy.admin_socket}", "--settle=1", f"--budget={budget}"]
    drain = await asyncio.create_subprocess_exec(sys.executable, str(DRAIN), *options, stdout=asyncio.subprocess.PIPE)
    said, _ = await drain.communicate()
    assert drain.returncode == 0
    assert proxy.process is not None
    proxy.process.terminate()
    await proxy.process.wait()
    return said.decode()


async def test_a_proxy_is_replaced_and_no_publish_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where a message could not be sent again, since the broker keeps no keys (in memory)."""
    monkeypatch.setattr(outbox, "STREAM_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(BrokerProcess("--store=memory"))
        ports = [int(broker.address.rpartition(":")[2])]
        proxies = [await stack.enter_async_context(running_envoy({}, ports, drain_seconds=2)) for _ in range(2)]
        service = f"127.0.0.1:{(await stack.enter_async_context(Cutter(ready(proxies)))).port}"
        # One after the other, so that each proxy has a subscription, which outlasts GOAWAY, and two of the others.
        clients = [await stack.enter_async_context(connect(service, timeout=30)) for _ in range(2)]
        feeds = [await stack.enter_async_context(client.subscribe("feed")) for client in clients]
        loads = [Load(await stack.enter_async_context(caller(service))) for _ in range(4)]
        published = 0

        async def publish() -> None:
            nonlocal published
            while not done.is_set():
                await asyncio.gather(*(client.publish("feed", b"x", expires=HOUR) for client in clients))
                published += len(clients)

        done = asyncio.Event()
        publishing = asyncio.create_task(publish())
        for load in loads:
            await load.more(200)
        assert await end_as_a_pod(proxies[0], budget=6) == "drain: done, 1 connections left\n"
        for load in loads:
            await load.more(200)
            await load.stop()
        done.set()
        await publishing
        assert [load.failures for load in loads] == [Counter()] * len(loads)
        for feed in feeds:
            ids = [message.id for message in await take(feed, published)]
            assert ids == list(range(1, published + 1))
