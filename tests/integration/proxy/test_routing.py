"""Streams, retries, health and errors through a real Envoy with the configuration that the operator renders."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from broker.api import broker_pb2 as pb
from tests.support.backend import backend_process, running_backend
from tests.support.clusters import each, limited, total
from tests.support.envoy import Caller, batch, caller, manager, running_envoy
from tests.support.http2 import http2, request

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


async def until_passed(client: Caller, subject: str) -> None:
    """Publishes until it is not refused: Envoy's workers follow a change a little after its main thread."""
    async with asyncio.timeout(20):
        while True:
            try:
                await client.publish(subject)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.02)
            else:
                return


async def until_refused(client: Caller, subject: str) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
            await publish_for_ever(client, subject)


async def publish_for_ever(client: Caller, subject: str) -> None:
    while True:
        await client.publish(subject)


async def test_limits_change_while_a_stream_lives() -> None:
    async with running_backend() as backend:
        async with (
            running_envoy(limited(each(1)), [backend.port]) as proxy,
            caller(proxy.address) as client,
        ):
            stream = client.subscribe("news")
            await stream.initial_metadata()
            await client.publish("busy")
            with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
                await client.publish("busy")
            proxy.change(limited(each(50)))
            await until_passed(client, "busy")
            for _ in range(49):
                await client.publish("busy")
            await client.publish("news", b"still here")
            assert (await stream.read()).body == b"still here"
            assert proxy.stat("http.ingress.rds.broker.update_rejected") == 0
            stream.cancel()


async def test_limits_can_be_added_and_removed_while_a_stream_lives() -> None:
    async with running_backend() as backend:
        async with running_envoy({}, [backend.port]) as proxy, caller(proxy.address) as client:
            stream = client.publish_stream()
            await stream.write(batch("a"))
            assert len((await stream.read()).ids) == 1
            proxy.change(limited(total(2)))
            await until_refused(client, "a")
            proxy.change({})
            await until_passed(client, "a")
            for _ in range(5):
                await client.publish("a")
            await stream.write(batch("a"))
            assert len((await stream.read()).ids) == 1


async def test_old_connections_are_replaced_without_cutting_their_subscriptions() -> None:
    def short(files: dict[str, Any]) -> None:
        manager(files)["common_http_protocol_options"]["max_connection_duration"] = "0.2s"
        manager(files)["drain_timeout"] = "0.1s"

    async with running_backend() as backend:
        async with running_envoy({}, [backend.port], change=short) as proxy, caller(proxy.address) as client:
            stream = client.subscribe("news")
            await stream.initial_metadata()
            while proxy.stat("http.ingress.downstream_cx_max_duration_reached") < 2:
                await client.publish("other")
            await client.publish("news", b"late")
            assert (await stream.read()).body == b"late"
            stream.cancel()


async def test_subscriptions_do_not_take_the_place_of_calls() -> None:
    def few(files: dict[str, Any]) -> None:
        for cluster in files["cds.json"]["resources"]:
            if "circuit_breakers" in cluster:
                cluster["circuit_breakers"]["thresholds"][0]["max_requests"] = 3

    async with running_backend() as backend:
        async with running_envoy({}, [backend.port], change=few) as proxy, caller(proxy.address) as client:
            streams = [client.subscribe("news") for _ in range(3)]
            for stream in streams:
                await stream.initial_metadata()
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await client.subscribe("one too many").read()
            await client.publish("news", b"hello")
            for stream in streams:
                assert (await stream.read()).body == b"hello"
                stream.cancel()


async def test_a_stream_of_frames_opens_before_its_first_frame_when_there_are_no_limits() -> None:
    async with running_backend() as backend:
        async with running_envoy({}, [backend.port]) as proxy, caller(proxy.address) as client:
            stream = client.publish_stream()
            opened = asyncio.create_task(stream.initial_metadata())
            async with asyncio.timeout(10):
                while "PublishStream" not in backend.calls:
                    await asyncio.sleep(0.01)
            await stream.write(batch("a"))
            assert len((await stream.read()).ids) == 1
            await opened


async def test_a_killed_broker_costs_no_call_and_doubles_no_message(tmp_path: Path) -> None:
    journals = [tmp_path / "first", tmp_path / "second"]
    async with AsyncExitStack() as stack:
        started = [await stack.enter_async_context(backend_process(journal)) for journal in journals]
        proxy = await stack.enter_async_context(running_envoy({}, [port for _, port in started]))
        client = await stack.enter_async_context(caller(proxy.address))
        await proxy.until_healthy(2)
        acknowledged, failures = [], []
        for index in range(600):
            if index == 300:
                started[0][0].kill()
            try:
                await client.publish(f"message-{index}")
                acknowledged.append(f"message-{index}")
            except grpc.aio.AioRpcError as error:
                failures.append(error.code())
        stored = [line for journal in journals for line in journal.read_text().splitlines()]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    # At most the one that the broker had and did not answer: Envoy must not send it again.
    assert failures in ([], [grpc.StatusCode.UNAVAILABLE], [grpc.StatusCode.INTERNAL])


async def test_a_broker_that_drains_gets_no_new_calls() -> None:
    async with running_backend() as first, running_backend() as second:
        async with running_envoy({}, [first.port, second.port]) as proxy, caller(proxy.address) as client:
            await proxy.until_healthy(2)
            await first.health.set("broker.Broker", NOT_SERVING)
            await proxy.until_healthy(1)
            async with asyncio.timeout(20):
                before = -1
                while before != len(first.subjects):
                    before = len(first.subjects)
                    for _ in range(50):
                        await client.publish("a")


async def test_the_only_broker_is_down_and_comes_back() -> None:
    async with running_backend() as backend:
        async with running_envoy({}, [backend.port]) as proxy, caller(proxy.address) as client:
            await proxy.until_healthy(1)
            await backend.health.set("broker.Broker", NOT_SERVING)
            await proxy.until_healthy(0)
            async with asyncio.timeout(20):
                with pytest.raises(grpc.aio.AioRpcError, match="no healthy upstream") as refused:
                    await publish_for_ever(client, "a")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await backend.health.set("broker.Broker", SERVING)
            await until_passed(client, "a")


async def test_errors_of_the_only_broker_never_eject_it() -> None:
    async with running_backend() as backend:

        def broken(message: object) -> None:
            raise RuntimeError("a bug")

        backend.on_message = broken
        async with running_envoy({}, [backend.port]) as proxy, caller(proxy.address) as client:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError, match="a bug"):
                    await client.publish("a")
            assert await client.fetch("a") == b"fetched"


@pytest.mark.parametrize("path", ["/broker.Broker/Unknown", "/other.Service/Call"])
async def test_an_unknown_call_is_unimplemented(path: str) -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(total(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.raw(path, b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert "no such call" in (refused.value.details() or "")


async def test_a_body_of_the_largest_size_passes() -> None:
    spec = {**limited(each(5)), "limits": {"maxBodyBytes": "8Mi"}}
    async with running_backend() as backend:
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as client:
            assert await client.publish("a", bytes(8 << 20)) == 1
            stream = client.publish_stream()
            for _ in range(3):
                frame = batch("b")
                frame.messages[0].body = bytes(8 << 20)
                await stream.write(frame)
                assert len((await stream.read()).ids) == 1
            stream.cancel()


async def test_a_call_that_fails_is_logged_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    async with running_backend() as backend:
        await backend.health.set("broker.Broker", NOT_SERVING)
        async with running_envoy(limited(each(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            await proxy.until_healthy(0)
            with pytest.raises(grpc.aio.AioRpcError):
                await client.publish("a")
            with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
                await client.publish("a")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert [(line["call"], line["status"]) for line in lines] == [("/broker.Broker/Publish", "Unavailable")]


async def test_subscribers_that_do_not_read_hold_back_no_other() -> None:
    body = bytes(256 << 10)
    async with running_backend() as backend, running_envoy({}, [backend.port]) as proxy, AsyncExitStack() as stack:
        fast, *slow = [await stack.enter_async_context(caller(proxy.address)) for _ in range(4)]
        stuck = [client.subscribe("news") for client in slow for _ in range(40)]
        for stream in stuck:
            await stream.initial_metadata()
        stream = fast.subscribe("news")
        await stream.initial_metadata()
        for _ in range(12):
            await fast.publish("news", body)
            assert (await stream.read()).body == body
        for one in [stream, *stuck]:
            one.cancel()


async def test_a_connection_is_closed_when_it_has_had_no_call_for_its_idle_time() -> None:
    async with running_backend() as backend:
        spec = {"proxy": {"connections": {"idleSeconds": 1}}}
        async with running_envoy(spec, [backend.port]) as proxy, caller(proxy.address) as subscriber:
            stream = subscriber.subscribe("a")
            await stream.initial_metadata()
            async with http2(proxy.address) as idle:
                assert await idle.end() == 0, "a GOAWAY without an error"
            await subscriber.publish("a", b"still there")
            assert (await stream.read()).body == b"still there"
            stream.cancel()


async def test_a_client_that_does_not_answer_pings_is_gone() -> None:
    def impatient(files: dict[str, Any]) -> None:
        manager(files)["http2_protocol_options"]["connection_keepalive"]["timeout"] = "0.5s"

    async with running_backend() as backend:
        spec = {"proxy": {"connections": {"keepaliveSeconds": 1}}}
        async with running_envoy(spec, [backend.port], change=impatient) as proxy, caller(proxy.address) as other:
            stream = other.subscribe("a")
            await stream.initial_metadata()
            async with http2(proxy.address, reads=False) as silent:
                silent.send(
                    request(1, "/broker.Broker/Subscribe", pb.SubscribeRequest(subject="a").SerializeToString())
                )
                await proxy.until_stat("http2.keepalive_timeout", 1)
            await other.publish("a", b"still there")
            assert (await stream.read()).body == b"still there"
            stream.cancel()
