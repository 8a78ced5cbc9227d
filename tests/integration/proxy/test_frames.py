"""Rate limits of PublishBatch and PublishStream: a real broker asks the real Envoy that carries the call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS, metric
from tests.support.clusters import each, exact, limited, total
from tests.support.envoy import Caller, Proxy, batch, caller, running_envoy

EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def limited_broker(door: str, spec: dict[str, Any]) -> AsyncIterator[tuple[BrokerProcess, Proxy, Caller]]:
    async with BrokerProcess("--store=memory", f"--door={door}", "--trust-proxy=yes") as broker:
        port = int(broker.address.rpartition(":")[2])
        async with running_envoy(spec, [port]) as proxy, caller(proxy.address) as client:
            yield broker, proxy, client


class Stream:
    """A PublishStream that is used frame by frame."""

    def __init__(self, client: Caller) -> None:
        self._call = client.publish_stream()

    async def send(self, *subjects: str) -> pb.PublishBatchResponse:
        await self._call.write(batch(*subjects))
        response: pb.PublishBatchResponse = await self._call.read()
        return response

    async def end(self) -> grpc.StatusCode:
        await self._call.done_writing()
        assert await self._call.read() is grpc.aio.EOF
        code: grpc.StatusCode = await self._call.code()
        return code


async def admitted(client: Caller, subject: str, calls: int) -> int:
    """How many of so many single publishes were let through."""
    count = 0
    for _ in range(calls):
        try:
            await client.publish(subject)
        except grpc.aio.AioRpcError as error:
            assert error.code() is EXHAUSTED, error
        else:
            count += 1
    return count


async def test_streams_batches_and_single_messages_share_a_limit(door: str) -> None:
    async with limited_broker(door, limited(each(10))) as (_, _, client):
        assert await client.publish("a") == 1
        stream = Stream(client)
        assert list((await stream.send("a", "a", "a")).ids) == [2, 3, 4]
        assert await client.publish_batch("a", "a") == [5, 6]
        assert await admitted(client, "a", 10) == 4
        (error,) = (await stream.send("a")).errors
        assert (error.index, error.code, error.reason) == (0, EXHAUSTED.value[0], "RATE_LIMITED")
        assert error.retry_after.seconds > 300
        assert list((await stream.send("b")).ids) == [1]
        assert await stream.end() is grpc.StatusCode.OK


async def test_each_subject_of_a_frame_pays_for_its_own_messages(door: str) -> None:
    async with limited_broker(door, limited(each(4), exact("cheap", 2))) as (_, _, client):
        response = await Stream(client).send("cheap", "hot", "cheap", "hot", "cheap", "hot", "hot", "hot")
        assert list(response.ids) == [1, 1, 2, 2, 0, 3, 4, 0]
        assert [error.index for error in response.errors] == [4, 7]
        assert await admitted(client, "hot", 2) == 0


async def test_of_a_frame_that_is_larger_than_what_is_left_the_first_messages_pass(door: str) -> None:
    async with limited_broker(door, limited(each(5), total(8))) as (_, _, client):
        response = await Stream(client).send(*["a"] * 50)
        assert list(response.ids[:6]) == [1, 2, 3, 4, 5, 0]
        assert len(response.errors) == 45
        assert await client.publish_batch(*["b"] * 2) == [1, 2]
        assert await admitted(client, "c", 3) == 1


async def test_a_batch_none_of_whose_messages_has_room_is_refused_as_a_call(door: str) -> None:
    async with limited_broker(door, limited(each(1))) as (_, _, client):
        await client.publish_batch("a")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.publish_batch("a", "a")
        assert refused.value.code() is EXHAUSTED
        assert int(dict(refused.value.trailing_metadata())["grpc-retry-pushback-ms"]) > 3_000_000


async def test_frames_without_a_message_are_not_free(door: str) -> None:
    async with limited_broker(door, limited(total(5))) as (_, _, client):
        stream = Stream(client)
        for _ in range(3):
            assert not (await stream.send()).ids
        assert await admitted(client, "a", 5) == 2


async def test_rules_tell_batches_and_streams_apart(door: str) -> None:
    spec = limited({**each(2), "methods": ["PublishStream"]}, {**each(3), "methods": ["PublishBatch", "Publish"]})
    async with limited_broker(door, spec) as (_, _, client):
        assert len((await Stream(client).send(*"aaaa")).errors) == 2
        assert await client.publish_batch("a", "a") == [3, 4]
        assert await admitted(client, "a", 5) == 1


async def test_clients_are_told_apart_in_streams_too(door: str) -> None:
    client_rule = {"client": {"type": "Distinct", "from": "Header", "header": "x-tenant"}, **total(3)}
    async with limited_broker(door, limited(client_rule)) as (_, _, client):
        for tenant in ("one", "two"):
            stream = client.publish_stream(metadata=(("x-tenant", tenant), ("x-broker-client", "forged")))
            await stream.write(batch(*"abcde"))
            assert len((await stream.read()).errors) == 2
            with pytest.raises(grpc.aio.AioRpcError, match="local_rate_limited"):
                await client.publish("a", metadata=(("x-tenant", tenant), ("x-broker-client", "other")))


async def test_shadow_rules_refuse_nothing(door: str) -> None:
    async with limited_broker(door, limited({**each(1), "shadow": True})) as (_, proxy, client):
        assert not (await Stream(client).send(*"aaaa")).errors
        assert await admitted(client, "a", 3) == 3
        assert proxy.stat("broker.http_local_rate_limit.shadow_mode") > 0


async def test_without_rules_nobody_is_asked(door: str) -> None:
    async with limited_broker(door, {}) as (broker, proxy, client):
        assert not (await Stream(client).send(*"aaaa")).errors
        assert await metric(broker, "broker_quota_questions_total{result=admitted}") == 0
        proxy.change(limited(each(2)))
        await proxy.until_stat("http.ingress.rds.broker.config_reload", 2)
        assert len((await Stream(client).send(*"aaaa")).errors) == 2


async def test_a_proxy_that_cannot_be_asked_lets_nothing_through(door: str) -> None:
    async with BrokerProcess("--store=memory", f"--door={door}", "--trust-proxy=yes") as broker:
        async with caller(broker.address) as client:
            told = (("x-broker-quota", "127.0.0.1:1"),)
            stream = client.publish_stream(metadata=told)
            await stream.write(batch("a", "b"))
            errors = (await stream.read()).errors
            assert [(error.code, error.reason) for error in errors] == [(14, "QUOTA_UNREACHABLE")] * 2
            with pytest.raises(grpc.aio.AioRpcError, match="cannot be asked") as refused:
                await client.publish_batch("a", metadata=told)
            assert refused.value.code() is UNAVAILABLE
        assert await metric(broker, "broker_quota_questions_total{result=failed}") == 3
        assert await metric(broker, "broker_messages_published_total{kind=transient}") == 0


async def test_who_does_not_trust_a_proxy_asks_nobody(door: str) -> None:
    async with BrokerProcess("--store=memory", f"--door={door}") as broker, caller(broker.address) as client:
        assert await client.publish_batch("a", metadata=(("x-broker-quota", "127.0.0.1:1"),)) == [1]
