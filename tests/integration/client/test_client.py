"""The client against a real broker."""

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from broker.client import (
    EARLIEST,
    Broker,
    InvalidRequest,
    LimitReached,
    MessageNotFound,
    NewMessage,
    after_id,
    connect,
    since,
)
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric
from tests.support.client import HOUR, collect, take


class TestPublish:
    async def test_gives_dense_ids(self, broker: Broker, subject: str) -> None:
        assert [await broker.publish(subject, b"%d" % i) for i in range(3)] == [1, 2, 3]

    async def test_then_fetch_gives_the_same_message(self, broker: Broker, subject: str) -> None:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        body = bytes(range(256))
        message_id = await broker.publish(subject, body, expires=HOUR)
        message = await broker.fetch(subject, message_id)
        assert (message.subject, message.id, message.body) == (subject, message_id, body)
        assert before <= message.published_at <= datetime.now(UTC)

    async def test_fire_and_forget_cannot_be_fetched(self, broker: Broker, subject: str) -> None:
        message_id = await broker.publish(subject, b"gone")
        with pytest.raises(MessageNotFound) as raised:
            await broker.fetch(subject, message_id)
        assert raised.value.reason == "MESSAGE_NOT_FOUND"
        assert raised.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert not raised.value.retriable

    async def test_a_fraction_of_a_second_is_not_fire_and_forget(self, broker: Broker, subject: str) -> None:
        message_id = await broker.publish(subject, b"kept", expires=0.001)
        assert (await broker.fetch(subject, message_id)).body == b"kept"

    @pytest.mark.parametrize(
        ("subject", "body", "expires", "reason"),
        [
            ("", b"", 0, "SUBJECT_INVALID"),
            ("s" * 256, b"", 0, "SUBJECT_INVALID"),
            ("a\nb", b"", 0, "SUBJECT_INVALID"),
            ("\ud800", b"", 0, "SUBJECT_INVALID"),
            ("s", b"", -1, "EXPIRATION_NEGATIVE"),
            ("s", b"", -0.5, "EXPIRATION_NEGATIVE"),
            ("s", b"", 604801, "EXPIRATION_TOO_LONG"),
            ("s", b"", timedelta.max, "EXPIRATION_TOO_LONG"),
            ("s", b"", float("nan"), "EXPIRATION_TOO_LONG"),
            ("s", bytes(65537), 0, "BODY_TOO_LARGE"),
        ],
    )
    async def test_what_is_wrong_is_named(
        self, broker: Broker, subject: str, body: bytes, expires: float, reason: str
    ) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await broker.publish(subject, body, expires=expires)
        assert raised.value.reason == reason
        assert not raised.value.retriable

    @pytest.mark.parametrize("body", ["text", 5, None])
    async def test_a_body_is_bytes(self, broker: Broker, body: bytes) -> None:
        with pytest.raises(TypeError):
            await broker.publish("s", body)

    async def test_many_at_once(self, broker: Broker, subject: str) -> None:
        messages = [NewMessage(subject, b"%d" % i, HOUR) for i in range(1203)]
        assert await broker.publish_many(messages) == list(range(1, 1204))
        assert (await broker.fetch(subject, 1203)).body == b"1202"

    async def test_an_error_among_many_fails_no_neighbour(self, broker: Broker, subject: str) -> None:
        first, refused, last = await broker.publish_many(
            [NewMessage(subject, b"a"), NewMessage("", b"b"), NewMessage(subject, b"c")]
        )
        assert (first, last) == (1, 2)
        assert isinstance(refused, InvalidRequest)
        assert refused.reason == "SUBJECT_INVALID"

    async def test_none_at_all(self, broker: Broker) -> None:
        assert await broker.publish_many([]) == []


class TestSubscribe:
    async def test_from_now_on(self, broker: Broker, subject: str) -> None:
        await broker.publish(subject, b"before", expires=HOUR)
        async with broker.subscribe(subject) as messages:
            await broker.publish(subject, b"stored", expires=HOUR)
            await broker.publish(subject, b"forgotten")
            assert [(message.id, message.body) for message in await take(messages, 2)] == [
                (2, b"stored"),
                (3, b"forgotten"),
            ]
            assert messages.last_id == 3

    async def test_earliest(self, broker: Broker, subject: str) -> None:
        for number in range(3):
            await broker.publish(subject, b"%d" % number, expires=HOUR)
        async with broker.subscribe(subject, start=EARLIEST) as messages:
            assert [message.id for message in await take(messages, 3)] == [1, 2, 3]

    async def test_after_an_id(self, broker: Broker, subject: str) -> None:
        for number in range(3):
            await broker.publish(subject, b"%d" % number, expires=HOUR)
        async with broker.subscribe(subject, start=after_id(2)) as messages:
            assert (await anext(messages)).id == 3

    async def test_since_a_time(self, broker: Broker, subject: str) -> None:
        await broker.publish(subject, b"old", expires=HOUR)
        old = await broker.fetch(subject, 1)
        await broker.publish(subject, b"new", expires=HOUR)
        async with broker.subscribe(subject, start=since(old.published_at)) as messages:
            assert (await anext(messages)).id == 1
        async with broker.subscribe(subject, start=since(datetime.now(UTC) + HOUR)) as messages:
            await broker.publish(subject, b"live")
            assert (await anext(messages)).id == 3

    async def test_without_a_context(self, broker: Broker, subject: str) -> None:
        await broker.publish(subject, b"x", expires=HOUR)
        async for message in broker.subscribe(subject, start=EARLIEST):
            assert message.body == b"x"
            break

    async def test_beyond_the_end_is_refused_when_it_is_opened(self, broker: Broker, subject: str) -> None:
        with pytest.raises(InvalidRequest) as raised:
            async with broker.subscribe(subject, start=after_id(5)):
                pass
        assert raised.value.reason == "START_BEYOND_END"
        assert raised.value.metadata["last_id"] == "0"

    async def test_a_bad_subject_is_refused_by_the_first_iteration(self, broker: Broker) -> None:
        with pytest.raises(InvalidRequest, match="subject"):
            await anext(broker.subscribe(""))

    async def test_a_timeout_of_the_caller_loses_nothing(self, broker: Broker, subject: str) -> None:
        async with broker.subscribe(subject) as messages:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(messages), 0.01)
                await broker.publish(subject, b"%d" % number)  # never stored: a second subscription would not get it
                assert (await anext(messages)).body == b"%d" % number

    async def test_closing_ends_the_iteration_of_another_task(self, broker: Broker, subject: str) -> None:
        subscription = broker.subscribe(subject)
        async with subscription:
            reader = asyncio.create_task(collect(subscription))
            await broker.publish(subject, b"x")
            await subscription.close()
            assert len(await reader) <= 1
            assert not reader.cancelled()

    async def test_leaving_the_loop_ends_it_at_the_server(self, server: BrokerProcess, subject: str) -> None:
        async with connect(server.address) as broker:
            await broker.publish(subject, b"x", expires=HOUR)
            async for _ in broker.subscribe(subject, start=EARLIEST):
                break
            await eventually(lambda: alone(server), "the subscription ends")

    async def test_a_reader_that_is_slow_holds_the_server_back_and_gets_everything(
        self, server: BrokerProcess, subject: str
    ) -> None:
        """30 MB for a reader that waits: the client holds a part of it, and takes nothing more."""
        body, batch = bytes(60_000), 100
        async with connect(server.address) as broker, broker.subscribe(subject) as messages:

            async def publish() -> None:
                results = await broker.publish_many([NewMessage(subject, body, HOUR) for _ in range(batch)])
                assert all(isinstance(result, int) for result in results)

            async def held_back() -> bool:
                await publish()
                return await metric(server, "broker_subscriptions_lagging") > 0

            await eventually(held_back, "the server is held back")
            sent = await metric(server, "broker_sent_bytes_total")
            for _ in range(4):
                await publish()
            assert await metric(server, "broker_sent_bytes_total") - sent < 100_000, "only answers to publishes"
            last = await broker.publish(subject, b"", expires=HOUR)
            assert [message.id for message in await take(messages, last)] == list(range(1, last + 1))


async def test_a_full_store_is_a_limit() -> None:
    async with BrokerProcess("--store=memory", "--memory-limit=64Ki", "--max-body=64Ki") as server:
        async with connect(server.address) as broker:
            await broker.publish("s", bytes(30_000), expires=HOUR)
            with pytest.raises(LimitReached) as raised:
                await broker.publish("s", bytes(60_000), expires=HOUR)
    assert raised.value.reason == "STORE_FULL"
    assert raised.value.retriable


async def alone(server: BrokerProcess) -> bool:
    return await metric(server, "broker_subscriptions") == 0


@pytest.mark.parametrize("target", ["ipv4:{0},{0}", "ipv4:///{0},127.0.0.1:1"])
async def test_several_addresses(server: BrokerProcess, subject: str, target: str) -> None:
    async with connect(target.format(server.address)) as broker:
        message_id = await broker.publish(subject, b"body", expires=HOUR)
        assert (await broker.fetch(subject, message_id)).body == b"body"
