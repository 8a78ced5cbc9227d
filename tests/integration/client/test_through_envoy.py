"""The client behind the real load balancer: Envoy and the brokers behind it come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from broker.client import EARLIEST, Broker, BrokerError, MessageId, NewMessage, RateLimited, connect
from tests.support.broker import BrokerProcess
from tests.support.brokers import metric
from tests.support.client import HOUR, durable, take
from tests.support.clusters import each, limited
from tests.support.envoy import running_envoy
from tests.support.keys import keys
from tests.support.postgres import shared_server

PUBLISHERS = 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with durable(tmp_path) as process:
        yield process


@pytest.fixture
async def limited_server(tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    """It asks the proxy in front for quota."""
    async with durable(tmp_path, "--trust-proxy=yes") as process:
        yield process


class TestRestarts:
    async def test_envoy_is_killed_and_comes_back(self, server: BrokerProcess) -> None:
        async with AsyncExitStack() as proxies:
            proxy = await proxies.enter_async_context(running_envoy({}, [port(server)]))
            address = proxy.address
            async with connect(address, timeout=60) as broker:
                causes: list[BrokerError] = []
                async with broker.subscribe("s", on_reconnect=causes.append) as messages:
                    publishing = Publishing(broker)
                    got = await take(messages, 100)
                    await proxy.kill()
                    await proxies.enter_async_context(running_envoy({}, [port(server)], at=address))
                    got += await take(messages, 100)
                    published = await publishing.stop()
                    got += await take(messages, len(published) - len(got))
                    assert {message.id: message.body for message in got} == published
                    assert [message.id for message in got] == list(range(1, len(got) + 1))
                    assert causes, "the subscription noticed"

    async def test_the_broker_behind_it_is_killed_and_comes_back(self, server: BrokerProcess) -> None:
        async with running_envoy({}, [port(server)]) as proxy, connect(proxy.address, timeout=60) as broker:
            async with broker.subscribe("s") as messages:
                publishing = Publishing(broker)
                got = await take(messages, 100)
                await asyncio.to_thread(server.restart)
                got += await take(messages, 100)
                published = await publishing.stop()
                got += await take(messages, len(published) - len(got))
                assert {message.id: message.body for message in got} == published
                assert [message.id for message in got] == list(range(1, len(got) + 1))

    async def test_another_broker_on_the_same_store_takes_over(self) -> None:
        """Each is killed in turn: keys hold, and a subscription goes on, on whichever replica comes next."""
        environment = {"BROKER_POSTGRES_DSN": shared_server().new_database()}
        async with AsyncExitStack() as stack:
            replicas = [
                await stack.enter_async_context(BrokerProcess("--store=postgres", environment=environment))
                for _ in range(2)
            ]
            proxy = await stack.enter_async_context(running_envoy({}, [port(replica) for replica in replicas]))
            broker = await stack.enter_async_context(connect(proxy.address, timeout=60))
            messages = await stack.enter_async_context(broker.subscribe("s"))
            publishing = Publishing(broker)
            got = await take(messages, 50)
            for replica in replicas:
                await asyncio.to_thread(replica.kill)
                got += await take(messages, 50)
                await asyncio.to_thread(replica.restart)
                await proxy.until_healthy(2)
            published = await publishing.stop()
            got += await take(messages, len(published) - len(got))
            assert {message.id: message.body for message in got} == published
            assert [message.id for message in got] == list(range(1, len(got) + 1))
            async with broker.subscribe("s", start=EARLIEST) as again:
                assert [message.id for message in await take(again, len(got))] == list(range(1, len(got) + 1))


class TestRateLimits:
    async def test_a_refusal_is_that_of_its_subject(self, limited_server: BrokerProcess) -> None:
        async with running_envoy(limited(each(200)), [port(limited_server)]) as proxy:
            async with connect(proxy.address, timeout=5) as broker:
                spent = [broker.publish("spent", b"") for _ in range(300)]
                quiet = [broker.publish("quiet", b"") for _ in range(200)]
                results = await asyncio.gather(*spent, *quiet, return_exceptions=True)
                assert results[:200] == list(range(1, 201))
                assert {type(result) for result in results[200:300]} == {RateLimited}
                assert {result.retry_after for result in results[200:300] if isinstance(result, RateLimited)} == {18.0}
                assert results[300:] == list(range(1, 201))

    async def test_a_publisher_over_the_limit_waits_as_it_is_asked_to(self, limited_server: BrokerProcess) -> None:
        async with running_envoy(limited(each(100, unit="Second")), [port(limited_server)]) as proxy:
            async with connect(proxy.address) as broker:
                results = await broker.publish_many(NewMessage("s", b"%d" % number, HOUR) for number in range(500))
                assert results == list(range(1, 501))
            # About once a second, and one question more finds out how many pass: far fewer than messages.
            assert await metric(limited_server, "broker_quota_questions_total{result=refused}") < 30
            async with connect(limited_server.address) as direct, direct.subscribe("s", start=EARLIEST) as messages:
                assert [int(message.body) for message in await take(messages, 500)] == list(range(500))

    async def test_a_large_message_that_goes_alone_waits_too(self, limited_server: BrokerProcess) -> None:
        spec = limited(each(1, unit="Second"))
        async with running_envoy(spec, [port(limited_server)]) as proxy, connect(proxy.address) as broker:
            large = [NewMessage("s", bytes(600_000)) for _ in range(3)]
            assert await broker.publish_many(large) == [1, 2, 3]

    async def test_fetching_waits_too(self, limited_server: BrokerProcess) -> None:
        async with connect(limited_server.address) as direct:
            await direct.publish("s", b"kept", expires=HOUR)
        spec = limited({**each(1, unit="Second"), "methods": ["Fetch"]})
        async with running_envoy(spec, [port(limited_server)]) as proxy, connect(proxy.address) as broker:
            for _ in range(3):
                assert (await broker.fetch("s", 1)).body == b"kept"

    async def test_none_overtakes_one_that_was_refused(self, limited_server: BrokerProcess) -> None:
        async with running_envoy(limited(each(60, unit="Minute")), [port(limited_server)]) as proxy:
            async with connect(proxy.address, timeout=3) as broker:
                results = await broker.publish_many(NewMessage("s", b"%d" % number, HOUR) for number in range(400))
                passed = [isinstance(result, MessageId) for result in results]
                assert 60 <= sum(passed) < 100
                assert passed == sorted(passed, reverse=True)


def port(server: BrokerProcess) -> int:
    return int(server.address.rpartition(":")[2])


class Publishing:
    """Publishes to one subject from several tasks, each one message after the other, until it is told to stop."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._published: dict[int, bytes] = {}
        self._running = True
        self._tasks = [asyncio.create_task(self._publish(number)) for number in range(PUBLISHERS)]

    async def stop(self) -> dict[int, bytes]:
        """What was published, by id: every call succeeded."""
        self._running = False
        await asyncio.gather(*self._tasks)
        return self._published

    async def _publish(self, publisher: int) -> None:
        number = 0
        while self._running:
            body = b"%d-%d" % (publisher, number)
            self._published[await self._broker.publish("s", body, expires=HOUR)] = body
            number += 1


async def test_a_stream_that_is_refused_at_once_says_why(server: BrokerProcess) -> None:
    """Also when a frame was on its way: gRPC forgets how the server ended a call when a write fails afterwards."""
    spec = {"proxy": {"authentication": {"apiKeys": {"secretName": "keys"}}}}
    async with running_envoy(spec, [port(server)], secrets={"api-keys": keys(spec, {"alice": "key"})}) as proxy:
        async with connect(proxy.address) as broker:
            for _ in range(50):
                with pytest.raises(BrokerError) as refused:
                    await broker.publish("s", b"")
                assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
