"""Clients that abandon, hoard and never read: memory stays bounded, counters go back, others are served."""

import asyncio
import random
import socket
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind, eventually, metric, resident
from tests.support.wire import HOUR, SMALL_WINDOW, Failure, Wire, frame, message, wire

MIB = 1 << 20
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


async def still_serves(broker: BrokerProcess, subject: str) -> None:
    """Somebody new publishes, subscribes and fetches, on a subject of their own."""
    subject += "-served"
    async with wire(broker.address) as client:
        subscription = await client.subscribed(subject)
        message_id = await client.publish(subject, b"still here")
        assert (await subscription.next()).id == message_id
        assert (await client.fetch(subject, message_id)).body == b"still here"
        subscription.cancel()
    assert "Traceback" not in broker.log
    assert "never retrieved" not in broker.log


async def no_subscriptions(broker: BrokerProcess) -> None:
    async def none() -> bool:
        return await metric(broker, "broker_subscriptions") == 0

    await eventually(none, "all subscriptions are gone")
    assert await metric(broker, "broker_subscriptions_lagging") == 0


async def test_thousands_of_streams_that_are_opened_and_abandoned(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path) as broker:
        sizes = []
        for turn in range(4):
            # Half are cancelled, the others are cut off with their connection.
            async with wire(broker.address) as client:
                starts: list[dict[str, int]] = [{}, {"after_id": 0}]
                opened = [
                    client.subscribe(f"{subject}-{number % 50}", batch=number % 3 == 0, **starts[number % 2])
                    for number in range(400)
                ]
                streams = [client.publish_stream() for _ in range(100)]
                for stream in streams[::2]:
                    await stream.send(message(subject, b"", 0))
                for subscription in opened[::4]:
                    subscription.cancel()  # at once, perhaps before it has reached the broker
                await asyncio.gather(*[one.stands() for number, one in enumerate(opened) if number % 4])
                for subscription in opened[1::4]:
                    subscription.cancel()
                await client.publish_batch([message(f"{subject}-{number}", b"", HOUR) for number in range(50)])
            await no_subscriptions(broker)
            sizes.append(resident(broker))
            assert turn < 1 or sizes[-1] - sizes[0] < 24 * MIB, sizes
        await still_serves(broker, subject)


async def test_clients_that_never_read(kind: Kind, tmp_path: Path, subject: str) -> None:
    """All that waits for all of them is bounded, whatever was published."""
    limits = ("--subscription-queue-bytes=256Ki", "--delivery-queue-bytes=8Mi", "--cache-bytes=4Mi")
    with kind.process(tmp_path, *limits, "--memory-limit=64Mi") as broker:
        async with wire(broker.address, *SMALL_WINDOW) as deaf, wire(broker.address) as client:
            idle = [await deaf.subscribed(subject, batch=number % 2 == 0) for number in range(100)]
            healthy = await client.subscribed(subject, batch=True)
            before = resident(broker)
            for number in range(60):
                answer = await client.publish_batch([message(subject, random.randbytes(20_000))] * 20)
                assert await healthy.ids_until(answer.ids[-1]) == list(range(20 * number + 1, 20 * number + 21))
            # 24 MB were published to 100 who do not read.
            assert resident(broker) - before < 96 * MIB
            assert await metric(broker, "broker_subscriptions") == 101
            assert len(idle) == 100
        await no_subscriptions(broker)
        await still_serves(broker, subject)


@pytest.mark.parametrize("stream", ["PublishStream", "reflection"])
async def test_a_stream_that_sends_and_never_reads_is_held_back(
    kind: Kind, tmp_path: Path, subject: str, stream: str
) -> None:
    with kind.process(tmp_path) as broker:
        async with wire(broker.address, *SMALL_WINDOW) as client:
            before = resident(broker)
            # Small requests with large answers: each says why every message is refused; each is told what it asked.
            if stream == "PublishStream":
                call, data = client.publish_stream().call, frame([message("")] * 1000)
            else:
                call = client.channel.stream_stream(REFLECTION)()
                data = ServerReflectionRequest(file_containing_symbol="x" * 10_000).SerializeToString()
            sent = 0

            async def send() -> None:
                nonlocal sent
                while sent < 20_000:
                    await call.write(data)
                    sent += 1

            sending = asyncio.create_task(send())

            async def held_back() -> bool:
                now = sent
                await metric(broker, "broker_subscriptions")
                await metric(broker, "broker_subscriptions")
                return sending.done() or (sent == now and sent > 0)

            await eventually(held_back, "the client is held back")
            assert not sending.done()
            assert sent < 20_000
            assert resident(broker) - before < 64 * MIB
            sending.cancel()
            await asyncio.wait([sending])
        await still_serves(broker, subject)


async def test_twenty_thousand_subjects_once_each(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--cache-bytes=4Mi") as broker:
        async with wire(broker.address) as client:
            before = resident(broker)
            for turn in range(20):
                answer = await client.publish_batch([message(f"{subject}-{turn}-{at}") for at in range(1000)])
                assert set(answer.ids) == {1}
            # Ids are remembered for ever (some 0.5 KB a subject in memory), and beside that the cache.
            assert resident(broker) - before < 48 * MIB
            assert await metric(broker, "broker_cache_bytes") <= 4 * MIB
        await still_serves(broker, subject)


async def test_no_more_subscriptions_than_allowed(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--max-subscriptions=20") as broker:
        async with wire(broker.address) as client:
            first = [await client.subscribed(subject, batch=number % 2 == 0) for number in range(20)]
            for batch in (False, True):
                for start in ({}, {"earliest": True}):
                    failure = await client.subscribe(subject, batch=batch, **start).failure()
                    expected = "SUBSCRIPTIONS_FULL", "brokercluster.dev"
                    assert failure == Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, *expected)
                    assert failure.metadata == {"limit": "max-subscriptions", "value": "20"}
            first[0].cancel()

            async def room() -> bool:
                return await metric(broker, "broker_subscriptions") == 19

            await eventually(room, "one has left")
            another = await client.subscribed(subject)
            message_id = await client.publish(subject)
            assert (await another.next()).id == message_id
            calls = "broker_calls_total{code=RESOURCE_EXHAUSTED,method=Subscribe}"
            assert await metric(broker, calls) == 2


async def test_calls_that_are_cancelled_while_they_wait(client: Wire, broker: BrokerProcess, subject: str) -> None:
    async def one(number: int) -> None:
        method, request = ("Publish", message(subject, b"x", 0)) if number % 2 else ("Fetch", message(subject))
        call = client.channel.unary_unary(f"/broker.Broker/{method}")(request.SerializeToString())
        if number % 3:
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([asyncio.ensure_future(call.code())])

    await asyncio.gather(*[one(number) for number in range(500)])
    await still_serves(broker, subject)


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500],
    ids=["nothing", "HTTP/1", "zeros", "bad frames"],
)
async def test_connections_that_speak_no_grpc(broker: BrokerProcess, subject: str, data: bytes) -> None:
    host, _, port = broker.address.rpartition(":")
    connections = [socket.create_connection((host, int(port))) for _ in range(20)]
    for connection in connections:
        connection.sendall(data)
    await still_serves(broker, subject)
    for connection in connections:
        connection.close()
    await still_serves(broker, subject)


async def test_unary_calls_with_no_request_or_two(client: Wire, broker: BrokerProcess, subject: str) -> None:
    """A client's mistake that gRPC itself answers: not as an error of the server, and nothing else suffers."""
    for method in ("Publish", "Fetch", "Subscribe"):
        for requests in (0, 2):
            call = client.channel.stream_stream(f"/broker.Broker/{method}")()
            # The second may meet a call that has ended already.
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for _ in range(requests):
                    await call.write(message(subject, b"", 0).SerializeToString())
                await call.done_writing()
            call.cancel()
    await still_serves(broker, subject)
