"""Rate limits that an external service counts, through the real Envoy and a real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.support.broker import BrokerProcess
from tests.support.clusters import each, exact, limited
from tests.support.envoy import Caller, Proxy, batch, caller, free_port, running_envoy
from tests.support.rate_limit_service import running_service

RULES = (each(1), {**exact("hot", 1), "methods": ["Publish"]})
"""Their limits are not those that count."""


def served(port: int, mode: str = "Open") -> dict[str, Any]:
    service = {"address": f"127.0.0.1:{port}", "domain": "orders", "failureMode": mode, "timeoutMilliseconds": 2000}
    return limited(*RULES, service=service)


@asynccontextmanager
async def ground(spec: dict[str, Any]) -> AsyncIterator[tuple[Proxy, Caller]]:
    async with BrokerProcess("--store=memory", "--trust-proxy=yes") as broker:
        port = int(broker.address.rpartition(":")[2])
        async with running_envoy(spec, [port]) as proxy, caller(proxy.address) as client:
            yield proxy, client


async def refused(client: Caller, subject: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await client.publish(subject)
    return error.value


async def test_the_service_counts_by_rule_and_subject() -> None:
    limits = {
        (("rule", "rule-0"), ("subject", "")): 5,
        (("rule", "rule-1"), ("methods", "Publish"), ("subject", "hot")): 3,
    }
    async with running_service(limits) as service, ground(served(service.port)) as (_, client):
        for number in range(1, 6):
            assert await client.publish("a") == number
        error = await refused(client, "a")
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        hints = {**dict(error.initial_metadata()), **dict(error.trailing_metadata())}
        assert float(hints["x-ratelimit-reset"]) == 60
        assert [await client.publish("hot") for _ in range(3)] == [1, 2, 3]
        assert (await refused(client, "hot")).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert service.domains == {"orders"}


async def test_frames_are_counted_there_too_and_as_many_pass_as_there_is_room_for() -> None:
    async with running_service({(("rule", "rule-0"), ("subject", "")): 10}) as service:
        async with ground(served(service.port)) as (_, client):
            await client.publish("a")
            stream = client.publish_stream()
            await stream.write(batch(*["a"] * 30, "b"))
            response = await stream.read()
            assert list(response.ids) == [*range(2, 11), *[0] * 21, 1]
            assert {(error.reason, error.retry_after.seconds) for error in response.errors} == {("RATE_LIMITED", 60)}
            with pytest.raises(grpc.aio.AioRpcError, match="no room"):
                await client.publish_batch("a")


async def test_while_the_service_is_away_an_open_limit_lets_all_through() -> None:
    async with ground(served(free_port())) as (_, client):
        assert [await client.publish("a") for _ in range(5)] == [1, 2, 3, 4, 5]
        assert await client.publish_batch("a", "a") == [6, 7]


async def test_while_the_service_is_away_a_closed_limit_lets_nothing_through() -> None:
    port = free_port()
    async with ground(served(port, "Closed")) as (_, client):
        assert (await refused(client, "a")).code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be asked") as error:
            await client.publish_batch("a")
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        async with running_service({}, port):
            assert await came_back(client) == 1


async def came_back(client: Caller) -> int:
    """The id of the first message that passes."""
    for _ in range(500):
        try:
            return await client.publish("a")
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
    raise AssertionError("the service is not asked again")


async def test_to_name_a_service_cuts_no_stream() -> None:
    async with running_service({(("rule", "rule-0"), ("subject", "")): 2}) as service:
        async with ground(limited(*RULES)) as (proxy, client):
            stream = client.subscribe("quiet")
            await stream.initial_metadata()
            proxy.change(served(service.port))
            await proxy.until_stat("http.ingress.rds.broker.config_reload", 2)
            await proxy.until_stat("cluster.rate-limit-service.membership_total", 1)
            assert [await client.publish("quiet") for _ in range(2)] == [1, 2]
            assert (await refused(client, "quiet")).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await stream.read()
            proxy.change(limited())
            await proxy.until_stat("http.ingress.rds.broker.config_reload", 3)
            assert await client.publish("quiet") == 3
            await stream.read()
            await stream.read()
            assert proxy.stat("listener_manager.listener_modified") == 0
            stream.cancel()
