"""The client while brokers are killed, drained, restarted, or not there."""

import asyncio
from pathlib import Path

import pytest

from broker.client import (
    LATEST,
    Broker,
    BrokerError,
    DeadlineExceeded,
    NewMessage,
    OutcomeUnknown,
    Unavailable,
    connect,
)
from broker.client.calls import channel_options
from tests.support.broker import BrokerProcess
from tests.support.client import HOUR, collect, durable, take
from tests.support.cutter import Cutter


class TestReconnect:
    async def test_kill_and_restart_loses_and_doubles_nothing(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address, timeout=30) as broker:
            causes: list[BrokerError] = []
            subscription = broker.subscribe("s", on_reconnect=causes.append)
            async with subscription as messages:
                publisher = asyncio.create_task(publish_steadily(broker, 600))
                got = await take(messages, 100)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.restart)
                acknowledged = await publisher
                while got[-1].id < max(acknowledged):
                    got.append(await anext(messages))
                assert [message.id for message in got] == list(range(1, got[-1].id + 1))
                bodies = {message.id: message.body for message in got}
                assert all(bodies[message_id] == body for message_id, body in acknowledged.items())
                assert isinstance(causes[0], Unavailable)

    async def test_from_latest_before_the_first_message(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address) as broker:
            await broker.publish("s", b"before", expires=HOUR)
            async with broker.subscribe("s", start=LATEST) as messages:
                waiting = asyncio.create_task(anext(messages))
                await asyncio.to_thread(server.restart)
                await broker.publish("s", b"after", expires=HOUR)
                assert (await waiting).body == b"after"

    async def test_from_latest_gets_what_came_while_it_was_away(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address) as broker:
            await broker.publish("s", b"before", expires=HOUR)
            async with broker.subscribe("s", start=LATEST) as messages:
                await asyncio.to_thread(server.restart)
                async with connect(server.address) as other:
                    await other.publish("s", b"meanwhile", expires=HOUR)
                # Only now does it look, and finds its connection gone.
                assert (await anext(messages)).body == b"meanwhile"

    async def test_a_connection_that_died_without_a_word(self, tmp_path: Path) -> None:
        # What the client asks of its connections, only fifty times as fast.
        faster = [
            (name, value // 50)
            for name, value in channel_options("", 1 << 20)
            if name in ("grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms")
        ]
        causes: list[BrokerError] = []
        async with durable(tmp_path) as server, Cutter(int(server.address.rpartition(":")[2])) as cutter:
            async with connect(f"127.0.0.1:{cutter.port}", options=faster, timeout=30) as broker:
                async with broker.subscribe("s", on_reconnect=causes.append) as messages:
                    waiting = asyncio.create_task(anext(messages))
                    cutter.silent = True
                    silent = cutter.connections
                    async with asyncio.timeout(60):
                        while cutter.connections == silent:
                            await asyncio.sleep(0.01)
                    cutter.silent = False
                    cutter.cut()  # what was begun in silence would wait for what was swallowed
                    await broker.publish("s", b"after", expires=HOUR)
                    assert (await waiting).body == b"after"
        assert causes

    async def test_drain(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address) as broker:
            causes: list[BrokerError] = []
            async with broker.subscribe("s", on_reconnect=causes.append) as messages:
                await broker.publish("s", b"1", expires=HOUR)
                assert (await anext(messages)).id == 1
                waiting = asyncio.create_task(anext(messages))
                server.terminate()
                assert await asyncio.to_thread(server.wait) == 0
                await asyncio.to_thread(server.restart)
                await broker.publish("s", b"2", expires=HOUR)
                assert (await waiting).id == 2
            assert [cause.reason for cause in causes] == ["DRAINING"]

    async def test_a_memory_broker_that_restarted_is_noticed(self, caplog: pytest.LogCaptureFixture) -> None:
        async with BrokerProcess("--store=memory") as server, connect(server.address) as broker:
            async with broker.subscribe("s") as messages:
                for _ in range(3):
                    await broker.publish("s", b"old", expires=HOUR)
                await take(messages, 3)
                await asyncio.to_thread(server.restart)
                await broker.publish("s", b"new", expires=HOUR)
                message = await anext(messages)
                assert (message.id, message.body) == (1, b"new")
        assert "has lost the messages of subject 's'" in caplog.text

    async def test_closing_while_it_reconnects(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address) as broker:
            subscription = broker.subscribe("s")
            async with subscription:
                reader = asyncio.create_task(collect(subscription))
                await asyncio.to_thread(server.kill)
                await subscription.close()
                assert await reader == []


class TestAway:
    async def test_nobody_there(self) -> None:
        async with connect("127.0.0.1:1", timeout=0.3) as broker:
            with pytest.raises(DeadlineExceeded, match=r"no connection to 127\.0\.0\.1:1 within 0\.3 s"):
                await broker.publish("s", b"")
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
                await anext(broker.subscribe("s"))

    async def test_nobody_there_and_no_patience(self) -> None:
        async with connect("127.0.0.1:1", wait_for_ready=False) as broker:
            with pytest.raises(Unavailable) as raised:
                await broker.publish("s", b"")
            assert raised.value.reason == "NOT_CONNECTED"
            assert raised.value.retriable
            with pytest.raises(Unavailable):
                await anext(broker.subscribe("s"))

    async def test_a_publish_waits_for_a_broker_that_comes_back(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address, timeout=30) as broker:
            await broker.publish("s", b"1", expires=HOUR)
            await asyncio.to_thread(server.kill)
            publishing = asyncio.create_task(broker.publish("s", b"2", expires=HOUR))
            await asyncio.to_thread(server.restart)
            assert await publishing == 2

    async def test_a_broker_that_hangs(self, tmp_path: Path) -> None:
        """The request was sent, so it cannot be known what became of it, and it is not sent again."""
        async with durable(tmp_path) as server, connect(server.address) as broker:
            await broker.publish("s", b"1", expires=HOUR)
            server.pause()
            with pytest.raises(DeadlineExceeded) as raised:
                await broker.publish("s", b"2", expires=HOUR, timeout=0.3)
            assert not raised.value.retriable
            publishing = asyncio.create_task(broker.publish("s", b"3", expires=HOUR))
            await asyncio.sleep(0)
            await asyncio.to_thread(server.kill)
            with pytest.raises((OutcomeUnknown, DeadlineExceeded)):
                await publishing

    async def test_each_of_many_has_its_error(self) -> None:
        async with connect("127.0.0.1:1", wait_for_ready=False) as broker:
            results = await broker.publish_many([NewMessage("s", b""), NewMessage("s", b"")])
        assert [type(result) for result in results] == [Unavailable, Unavailable]

    async def test_one_context_at_a_time(self) -> None:
        async with connect("127.0.0.1:1") as broker:
            with pytest.raises(RuntimeError, match="in use"):
                await broker.__aenter__()

    async def test_outside_its_context(self) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            await connect("127.0.0.1:1").publish("s", b"")


async def publish_steadily(broker: Broker, count: int) -> dict[int, bytes]:
    """Publish; a message whose fate is unknown is not repeated. Returns what was acknowledged."""
    acknowledged = {}
    for number in range(count):
        body = b"%d" % number
        try:
            acknowledged[await broker.publish("s", body, expires=HOUR)] = body
        except OutcomeUnknown:
            continue
    return acknowledged
