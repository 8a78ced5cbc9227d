"""Balancing by subject: a subject's calls meet at one broker, through whichever proxy they come."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from broker.client import connect
from tests.support.backend import Backend, running_backend
from tests.support.broker import BrokerProcess
from tests.support.clusters import each, limited
from tests.support.envoy import Caller, Proxy, batch, caller, running_envoy

BY_SUBJECT = {"proxy": {"balancing": "Subject"}}
SUBJECTS = [f"subject-{number}" for number in range(300)]


class Backends:
    """Backends that a test can stop and start again, each on its own port."""

    def __init__(self) -> None:
        self.all: list[Backend] = []
        self._running: dict[int, AsyncExitStack] = {}

    @property
    def ports(self) -> list[int]:
        return [backend.port for backend in self.all]

    async def start(self, number: int) -> None:
        stack = self._running[number] = AsyncExitStack()
        if number == len(self.all):
            self.all.append(await stack.enter_async_context(running_backend()))
        else:
            self.all[number] = await stack.enter_async_context(running_backend(self.all[number].port))

    async def stop(self, number: int) -> None:
        await self._running.pop(number).aclose()

    async def stop_all(self) -> None:
        for number in list(self._running):
            await self.stop(number)

    async def homes(self, client: Caller) -> dict[str, int]:
        """Publishes to each subject once; returns which backend got it."""
        for backend in self.all:
            backend.subjects.clear()
        for subject in SUBJECTS:
            await client.publish(subject)
        found = {subject: number for number, one in enumerate(self.all) for subject in one.subjects}
        assert found.keys() == set(SUBJECTS)
        return found

    def calls(self) -> list[int]:
        return [len(backend.calls) for backend in self.all]


@asynccontextmanager
async def backends(count: int) -> AsyncIterator[Backends]:
    found = Backends()
    try:
        for number in range(count):
            await found.start(number)
        yield found
    finally:
        await found.stop_all()


async def home_of(found: Backends, call: Any) -> int:
    """Which backend gets a call."""
    before = found.calls()
    await call
    return next(number for number, calls in enumerate(found.calls()) if calls > before[number])


async def one_frame(client: Caller, *subjects: str) -> None:
    stream = client.publish_stream()
    await stream.write(batch(*subjects))
    await stream.read()
    stream.cancel()


async def subscribed(client: Caller, subject: str) -> None:
    stream = client.subscribe(subject)
    await stream.initial_metadata()
    stream.cancel()


@pytest.mark.parametrize("spec", [BY_SUBJECT, {"proxy": {**BY_SUBJECT["proxy"], **limited(each(1000))["proxy"]}}])
async def test_all_calls_of_a_subject_meet_through_any_proxy(spec: dict[str, Any]) -> None:
    async with backends(3) as found, AsyncExitStack() as stack:
        # What DNS says comes in any order.
        orders = (found.ports, found.ports[::-1])
        proxies = [await stack.enter_async_context(running_envoy(spec, ports)) for ports in orders]
        clients = [await stack.enter_async_context(caller(proxy.address)) for proxy in proxies]
        for proxy in proxies:
            await proxy.until_healthy(3)
        everywhere = lambda homes: len(set(homes.values())) == 3  # noqa: E731
        homes = await settled(found, clients[0], everywhere)
        assert await settled(found, clients[1], everywhere) == homes
        shares = Counter(homes.values())
        assert all(len(SUBJECTS) / 3 * 0.6 < share < len(SUBJECTS) / 3 * 1.4 for share in shares.values()), shares
        for subject in SUBJECTS[:12]:
            for client in clients:
                others = SUBJECTS[-3:]
                for call in (
                    client.fetch(subject),
                    client.publish_batch(subject, *others),
                    one_frame(client, subject, *others),
                    subscribed(client, subject),
                ):
                    assert await home_of(found, call) == homes[subject]


async def test_a_broker_that_goes_moves_its_share_and_gets_it_back() -> None:
    async with backends(3) as found, running_envoy(BY_SUBJECT, found.ports) as proxy, caller(proxy.address) as client:
        await proxy.until_healthy(3)
        before = await settled(found, client, lambda homes: len(set(homes.values())) == 3)
        await found.stop(1)
        await proxy.until_healthy(2)
        meanwhile = await settled(found, client, lambda homes: 1 not in homes.values())
        moved = {subject for subject in SUBJECTS if meanwhile[subject] != before[subject]}
        share = {subject for subject in SUBJECTS if before[subject] == 1}
        assert share <= moved
        assert len(moved - share) <= len(SUBJECTS) / 50, "hardly any subject of another broker moves"
        assert {meanwhile[subject] for subject in share} == {0, 2}, "and the share is divided"
        await found.start(1)
        await proxy.until_healthy(3)
        assert await settled(found, client, lambda homes: 1 in homes.values()) == before


async def settled(found: Backends, client: Caller, done: Any) -> dict[str, int]:
    """The homes, once Envoy's workers know what its main thread knows."""
    async with asyncio.timeout(20):
        while not done(homes := await found.homes(client)):
            pass
    return homes


async def test_a_dead_broker_that_nobody_has_noticed_costs_no_call() -> None:
    """The hash names it again; a retry must look further."""

    def unnoticed(files: dict[str, Any]) -> None:
        for cluster in files["cds.json"]["resources"]:
            cluster["health_checks"][0] |= {"unhealthy_threshold": 10_000}
            cluster["outlier_detection"] = {"enforcing_consecutive_5xx": 0, "enforcing_consecutive_gateway_failure": 0}

    async with (
        backends(2) as found,
        running_envoy(BY_SUBJECT, found.ports, change=unnoticed) as proxy,
        caller(proxy.address) as client,
    ):
        await proxy.until_healthy(2)
        before = await found.homes(client)
        await found.stop(0)
        await found.homes(client)
        for subject in SUBJECTS[:20]:
            await subscribed(client, subject)
        # Each was sent to the dead one first.
        assert proxy.stat("cluster.broker.upstream_rq_retry_success") >= Counter(before.values())[0]
        assert proxy.stat("cluster.broker.membership_healthy") == 2


async def test_requests_without_a_readable_subject_reach_a_broker_that_refuses_them() -> None:
    async with backends(2) as found, running_envoy(BY_SUBJECT, found.ports) as proxy, caller(proxy.address) as client:
        await proxy.until_healthy(2)
        await client.raw("/broker.Broker/Publish", b"")
        await client.raw("/broker.Broker/PublishBatch", b"")
        assert sum(found.calls()) == 2


async def test_balancing_changes_while_streams_live() -> None:
    async with backends(2) as found, running_envoy({}, found.ports) as proxy, caller(proxy.address) as client:
        await proxy.until_healthy(2)
        frames, news = client.publish_stream(), client.subscribe("news")
        await news.initial_metadata()
        for spec, sticky in ((BY_SUBJECT, True), ({}, False)):
            proxy.change(spec)
            async with asyncio.timeout(20):
                while (len({await home_of(found, client.publish("news")) for _ in range(30)}) == 1) is not sticky:
                    pass
            await frames.write(batch("news"))
            assert len((await frames.read()).ids) == 1
            assert not news.done()
        assert_nothing_rejected(proxy)
        frames.cancel()
        news.cancel()


def assert_nothing_rejected(proxy: Proxy) -> None:
    for name in ("cluster_manager.cds", "listener_manager.lds", "http.ingress.rds.broker"):
        assert proxy.stat(f"{name}.update_rejected") == 0


async def test_the_client_opens_streams_by_their_first_frame() -> None:
    """Envoy holds a call until it knows the subject: nobody may wait for the call's headers before."""
    async with BrokerProcess("--store=memory") as server:
        port = int(server.address.rpartition(":")[2])
        async with running_envoy(BY_SUBJECT, [port]) as proxy, connect(proxy.address, timeout=20) as client:
            async with client.subscribe("s") as messages:
                assert await client.publish("s", b"hello") == 1
                assert (await anext(messages)).body == b"hello"
