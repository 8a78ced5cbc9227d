"""Clients that want too much of a real Envoy: others are served meanwhile, and its memory stays in bounds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS
from tests.support.clusters import each, limited
from tests.support.envoy import Caller, Proxy, caller, manager, running_envoy
from tests.support.http2 import Http2, http2

MIB = 1 << 20
PUBLISH, SUBSCRIBE = "/broker.Broker/Publish", "/broker.Broker/Subscribe"
DEADLINE_EXCEEDED = 4

Files = dict[str, Any]


async def _round(client: Caller, number: int) -> None:
    stream = client.subscribe(f"bystander-{number}")
    await stream.initial_metadata()
    await client.publish(f"bystander-{number}", b"meanwhile")
    assert (await stream.read()).body == b"meanwhile"
    stream.cancel()


@asynccontextmanager
async def abused(
    spec: dict[str, Any] | None = None,
    *,
    change: Callable[[Files], None] = lambda files: None,
    growth: int = 32 * MIB,
    may_be_overloaded: bool = False,
    door: str = DOORS[-1],
) -> AsyncIterator[Proxy]:
    """A proxy that serves somebody else for as long as the block takes; nothing of the abuse is left afterwards.

    `growth`: bytes of memory by which it may grow at any moment meanwhile. `may_be_overloaded`: somebody else may
    be turned away for moments, and is served when he tries again.
    """
    async with BrokerProcess("--store=memory", f"--door={door}") as broker:
        port = int(broker.address.rpartition(":")[2])
        async with running_envoy(spec or {}, [port], change=change) as proxy, caller(proxy.address) as client:
            await _round(client, 0)
            proxy.forget_most_resident()
            before = proxy.most_resident()
            ended = asyncio.Event()

            async def be_served() -> None:
                for number in count(1):
                    try:
                        await _round(client, number)
                    except grpc.aio.AioRpcError as error:
                        if not (may_be_overloaded and error.details() == "envoy overloaded"):
                            raise
                        assert error.code() is grpc.StatusCode.UNAVAILABLE
                    else:
                        if ended.is_set():
                            return

            serving = asyncio.create_task(be_served())
            try:
                yield proxy
            finally:
                ended.set()
                await asyncio.wait([serving])
            await serving
            grown = proxy.most_resident() - before
            print(f"grew by {grown / MIB:.0f} MiB")
            assert grown < growth, f"grew by {grown / MIB:.0f} MiB"
            async with asyncio.timeout(20):
                while proxy.stat("http.ingress.downstream_rq_active"):
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def connections(proxy: Proxy, number: int, **options: Any) -> AsyncIterator[list[Http2]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(http2(proxy.address, **options)) for _ in range(number)]


async def test_headers_that_never_end_are_given_up() -> None:
    def impatient(files: Files) -> None:
        manager(files)["request_headers_timeout"] = "0.5s"

    async with abused(change=impatient) as proxy, connections(proxy, 50) as clients:
        for client in clients:
            client.send(h.frame(h.HEADERS, 0, 1, h.header_block(PUBLISH)))  # a CONTINUATION would have to follow
        for client in clients:
            await client.reply(1)


async def test_who_says_nothing_is_closed() -> None:
    def impatient(files: Files) -> None:
        files["lds.json"]["resources"][0]["listener_filters_timeout"] = "0.5s"

    async with abused(change=impatient) as proxy:
        host, _, port = proxy.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
        async with asyncio.timeout(20):
            for reader, writer in silent:
                assert await reader.read() == b""
                writer.close()


@pytest.mark.parametrize("spec", [{}, limited(each(1_000_000))], ids=["passed on", "held until it is whole"])
async def test_a_body_that_trickles_is_given_up(spec: dict[str, Any]) -> None:
    def impatient(files: Files) -> None:
        for route in files["rds.json"]["resources"][0]["virtual_hosts"][0]["routes"]:
            if "max_stream_duration" in route.get("route", {}):
                route["route"]["max_stream_duration"] = {"max_stream_duration": "1s"}

    async with abused(spec, change=impatient) as proxy, connections(proxy, 20) as clients:
        body = h.grpc_message(pb.PublishRequest(subject="s", body=bytes(1000)).SerializeToString())
        for client in clients:
            client.send(h.request(1, PUBLISH), h.data(1, body[:500]))

        async def trickle() -> None:
            for byte in body[500:-1]:
                for client in clients:
                    client.send(h.data(1, bytes([byte])))
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        for client in clients:
            assert (await client.reply(1)).status == DEADLINE_EXCEEDED
        trickling.cancel()


async def test_headers_that_are_too_large_end_their_call_alone() -> None:
    """Envoy has no words for it: clients who ask for its limit, as Go's and Java's do, say it by themselves."""
    async with abused() as proxy:
        async with caller(proxy.address) as client:
            await client.publish("s", metadata=(("x-fits", "x" * (8 << 10)),))
        async with http2(proxy.address) as client:
            await client.until(lambda: client.greeted, "the server tells its limits")
            assert client.max_header_list == 16 << 10
            opening, rest = (block := h.header_block(PUBLISH, {"x-large": "x" * (20 << 10)}))[:16000], block[16000:]
            client.send(h.frame(h.HEADERS, 0, 1, opening), h.frame(h.CONTINUATION, h.END_HEADERS, 1, rest))
            assert (await client.reply(1)).reset == h.INTERNAL_ERROR
            client.send(h.request(3, "/grpc.health.v1.Health/Check", h.grpc_message(b"")))
            assert (await client.reply(3)).status == 0


@pytest.mark.parametrize("door", DOORS)
async def test_streams_that_are_opened_and_reset_at_once_cost_the_connection(door: str) -> None:
    opening = h.grpc_message(pb.SubscribeRequest(subject="s").SerializeToString())

    def attack() -> Any:
        for stream in range(1, 200_001, 2):
            yield h.request(stream, SUBSCRIBE, opening) + h.reset(stream)

    async with abused(door=door) as proxy:
        for _ in range(3):
            async with http2(proxy.address) as client:
                assert await client.flood(attack()) < 50_000
                await client.end()
        assert proxy.stat("http.ingress.downstream_rq_too_many_premature_resets") >= 3


@pytest.mark.parametrize("kind", [h.PING, h.SETTINGS, h.PRIORITY])
async def test_a_flood_of_frames_that_ask_for_answers_costs_the_connection(kind: int) -> None:
    payload = {h.PING: bytes(8), h.SETTINGS: b"", h.PRIORITY: bytes(5)}[kind]
    one = h.frame(kind, 0, 1 if kind == h.PRIORITY else 0, payload)
    async with abused() as proxy, http2(proxy.address, reads=False) as client:
        await client.flood([one] * 500_000)
        assert proxy.most_resident() < 300 * MIB


async def test_connections_above_the_limit_are_closed_at_once() -> None:
    async with abused({"proxy": {"connections": {"maxConnections": 20}}}) as proxy:
        async with connections(proxy, 40) as clients:
            async with asyncio.timeout(20):
                while sum(client.closed for client in clients) < 40 - 19:
                    await asyncio.sleep(0.02)
            assert sum(client.closed for client in clients) == 40 - 19, "one more is the bystander's"


@pytest.mark.parametrize("door", DOORS)
async def test_streams_above_the_limit_are_refused_and_the_others_live(door: str) -> None:
    opening = h.grpc_message(pb.SubscribeRequest(subject="s").SerializeToString())
    spec = {"proxy": {"connections": {"maxStreams": 1000}}}
    async with abused(spec, door=door) as proxy, http2(proxy.address) as client:
        await client.until(lambda: client.greeted, "the server tells its limit")
        for number in range(3000):
            client.send(h.request(2 * number + 1, SUBSCRIBE, opening))
        await client.until(lambda: client.ended >= 2000 or client.closed, "what is too much is refused")
        assert client.closed or client.ended == 2000


async def test_large_bodies_that_never_end_do_not_take_all_memory() -> None:
    spec = limited(each(1_000_000))
    spec["proxy"]["resources"] = {"limits": {"memory": "128Mi"}}
    body = h.grpc_message(pb.PublishRequest(subject="s", body=bytes(4 * MIB)).SerializeToString())[:-1]
    async with abused(spec, growth=128 * MIB, may_be_overloaded=True) as proxy, connections(proxy, 10) as clients:
        uploads = []
        for client in clients:
            for number in range(10):
                client.send(h.request(2 * number + 1, PUBLISH))
                uploads.append(asyncio.create_task(client.upload(2 * number + 1, body, end=False)))
        await asyncio.wait(uploads)  # those that were not reset have sent all but their last byte
        assert proxy.stat("envoy.overload_actions.reset_high_memory_stream.count") > 0


async def test_subscribers_that_do_not_read_do_not_take_all_memory() -> None:
    opening = h.grpc_message(pb.SubscribeRequest(subject="s").SerializeToString())
    async with (
        abused(growth=256 * MIB) as proxy,
        connections(proxy, 10, generous=False) as clients,
    ):
        for client in clients:
            for number in range(40):
                client.send(h.request(2 * number + 1, SUBSCRIBE, opening))
        async with caller(proxy.address) as publisher:
            reader = publisher.subscribe("s")
            await reader.initial_metadata()
            await proxy.until_stat("http.ingress.downstream_rq_active", 401)
            for _ in range(300):
                await publisher.publish("s", bytes(32 << 10))
                assert len((await reader.read()).body) == 32 << 10
            reader.cancel()
