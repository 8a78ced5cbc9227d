"""What both doors allow: connections, calls on each, pings, age."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest

from broker.client import BrokerError, connect
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric
from tests.support.client import HOUR
from tests.support.cutter import Cutter
from tests.support.tls import Authority, write_files
from tests.support.wire import LIMIT, Failure, message, wire

ENHANCE_YOUR_CALM = 11
SETTINGS, PING, GOAWAY, ACK = 4, 6, 7, 1


def broker(door: str, *options: str) -> BrokerProcess:
    return BrokerProcess("--store=memory", f"--door={door}", *options)


async def event(process: BrokerProcess, name: str) -> float:
    return await metric(process, f"broker_door_connection_events_total{{event={name}}}")


async def test_connections_beyond_the_limit_are_closed(door: str) -> None:
    with broker(door, "--max-connections=2") as process:
        async with wire(process.address) as second:
            async with wire(process.address) as first:
                for client in (first, second):
                    await client.publish("a")
                async with wire(process.address) as third:
                    failure = await third.failure("Publish", message("a"))
                    assert failure.code is grpc.StatusCode.UNAVAILABLE

            async def is_served() -> bool:
                async with wire(process.address) as later:
                    with suppress(grpc.aio.AioRpcError):
                        return bool(await later.publish("a"))
                    return False

            await eventually(is_served, "there is room for another")
            assert await second.publish("a")
        if door == "native":
            assert await event(process, "refused") >= 1


async def test_calls_beyond_the_limit_of_a_connection_wait_in_the_client(door: str) -> None:
    with broker(door, "--max-streams=2") as process:
        async with wire(process.address) as other, wire(process.address) as client:
            first, second = await client.subscribed("a"), await client.subscribed("a")
            third = asyncio.create_task(client.subscribed("a"))
            for _ in range(3):
                await other.publish("a")
                await first.next()
                await second.next()
            assert not third.done()
            first.call.cancel()
            await asyncio.wait_for(third, LIMIT)


async def test_an_old_connection_is_replaced_and_nothing_is_missed(door: str) -> None:
    with broker(door, "--max-connection-age=0.5", "--max-connection-age-grace=0.2") as process:
        again: list[BrokerError] = []
        async with connect(process.address) as publisher, connect(process.address) as subscriber:
            async with subscriber.subscribe("a", on_reconnect=again.append) as messages:
                last = 0
                while len(again) < 3:
                    last = await publisher.publish("a", b"", expires=HOUR)
                    assert (await asyncio.wait_for(anext(messages), LIMIT)).id == last
        assert last
        if door == "native":
            assert await event(process, "aged") >= 3


async def test_calls_on_an_old_connection_may_end_within_the_grace(door: str) -> None:
    with broker(door, "--max-connection-age=0.5", "--max-connection-age-grace=0") as process:
        async with wire(process.address) as client:
            subscription = await client.subscribed("a")

            async def aged() -> bool:
                # On a connection as old, whose calls end at once, so that it ends when it is asked to.
                async with peer(process) as (reader, _):
                    while (await frame(reader))[0] != GOAWAY:
                        pass
                return True

            await eventually(aged, "old connections are ended")
            async with connect(process.address) as other:
                assert await other.publish("a", b"")
            await subscription.next()


async def test_a_client_that_has_died_is_noticed(door: str) -> None:
    with broker(door, "--keepalive-time=0.5", "--keepalive-timeout=0.5") as process:
        async with Cutter(int(process.address.rpartition(":")[2])) as cutter:
            async with wire(f"127.0.0.1:{cutter.port}") as client:
                await client.subscribed("a")
                assert await metric(process, "broker_subscriptions") == 1
                cutter.silent = True

                async def gone() -> bool:
                    return await metric(process, "broker_subscriptions") == 0

                await eventually(gone, "the subscription ends")
                cutter.cut()
        if door == "native":
            assert await event(process, "dead") == 1


async def test_a_silent_client_that_answers_is_left_alone(door: str) -> None:
    with broker(door, "--keepalive-time=0.2", "--keepalive-timeout=5") as process:
        async with wire(process.address) as other, peer(process) as (reader, writer):
            pings = 0
            while pings < 5:
                kind, flags, _, payload = await frame(reader)
                if kind == PING and not flags & ACK:
                    pings += 1
                    writer.write(header(8, PING, ACK) + payload)
            assert await other.publish("a")


@pytest.mark.parametrize("interval", ["5", "0"])
async def test_pings_that_come_too_often(door: str, interval: str) -> None:
    with broker(door, f"--keepalive-min-interval={interval}") as process, suppress(ConnectionError):
        async with peer(process) as (reader, writer):
            for number in range(20):
                writer.write(header(8, PING, 0) + struct.pack("!Q", number))
                kind, flags, payload = SETTINGS, 0, b""
                while kind not in (PING, GOAWAY):
                    kind, flags, _, payload = await frame(reader)
                if kind == GOAWAY:
                    assert interval == "5"
                    assert struct.unpack("!I", payload[4:8])[0] == ENHANCE_YOUR_CALM
                    return
                assert flags & ACK
            assert interval == "0"


async def test_calls_that_wait_to_be_looked_at_are_bounded(door: str) -> None:
    with broker(door, "--max-queued-calls=1") as process:
        async with wire(process.address) as client:
            await client.publish("a")
            refusals = set()

            async def refused() -> bool:
                process.pause()
                calls = [
                    asyncio.create_task(client.raw("Publish", message("a").SerializeToString())) for _ in range(300)
                ]
                await asyncio.sleep(0)
                process.resume()
                results = await asyncio.gather(*calls, return_exceptions=True)
                refusals.update(Failure.of(result) for result in results if isinstance(result, grpc.aio.AioRpcError))
                return bool(refusals)

            await eventually(refused, "some calls are refused")
            (refusal,) = refusals
            if door == "native":
                assert refusal == Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "CALLS_FULL", "brokercluster.dev")
                assert refusal.retry_after == 0.1
            else:
                assert refusal.code is grpc.StatusCode.CANCELLED  # which is not for us to choose


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_who_has_said_nothing_yet_holds_no_drain_up(authority: Authority, files: Path, tls: bool) -> None:
    pytest.importorskip("brokercluster_native", reason="the native door is not built here")
    with broker("native", *(write_files(files, authority.issue("broker")) if tls else [])) as process:
        host, _, port = process.address.rpartition(":")
        _, silent = await asyncio.open_connection(host, int(port))

        async def accepted() -> bool:
            return await metric(process, "broker_door_connections") == 1

        await eventually(accepted, "the connection is there")
        process.terminate()
        # A handshake may take 10 s otherwise.
        assert await asyncio.to_thread(process.wait, 8) == 0
        silent.close()


# A client that speaks HTTP/2 by itself, as far as it is needed here.


def header(size: int, kind: int, flags: int) -> bytes:
    return struct.pack("!I", size)[1:] + bytes([kind, flags]) + bytes(4)


@asynccontextmanager
async def peer(process: BrokerProcess) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = process.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + header(0, SETTINGS, 0))
    yield reader, writer
    writer.transport.abort()


async def frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """The next frame: type, flags, stream, payload."""
    async with asyncio.timeout(LIMIT):
        size, kind, flags, stream = struct.unpack("!IBBI", b"\0" + await reader.readexactly(9))
        return kind, flags, stream, await reader.readexactly(size)
