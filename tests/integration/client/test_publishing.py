"""Publishing from many tasks at once: batched, in order, each with its own answer, and never twice."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.client import (
    EARLIEST,
    Broker,
    DeadlineExceeded,
    InvalidRequest,
    LimitReached,
    Message,
    MessageId,
    NewMessage,
    OutcomeUnknown,
    Unavailable,
    connect,
)
from broker.client.publisher import MAX_MESSAGES
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric
from tests.support.client import HOUR, durable, take
from tests.support.cutter import Cutter

SUBJECTS = 7


@pytest.fixture
async def own() -> AsyncIterator[BrokerProcess]:
    """A broker of the test's own, to be stopped and cut off."""
    async with BrokerProcess("--store=memory") as server:
        yield server


class TestManyAtOnce:
    async def test_each_subject_keeps_the_order_of_the_calls(self, broker: Broker, subject: str) -> None:
        names = [f"{subject}-{number}" for number in range(SUBJECTS)]
        ids = await asyncio.gather(
            *(broker.publish(names[number % SUBJECTS], b"%d" % number, expires=HOUR) for number in range(5000))
        )
        assert ids == [1 + number // SUBJECTS for number in range(5000)]
        for index, name in enumerate(names):
            got = await everything(broker, name, len(ids[index::SUBJECTS]))
            assert [int(message.body) for message in got] == list(range(index, 5000, SUBJECTS))

    async def test_they_share_frames(self, own: BrokerProcess) -> None:
        async with connect(own.address) as broker:
            await asyncio.gather(*(broker.publish(f"s{number % 50}", b"") for number in range(5000)))
        commits = await metric(own, "broker_flush_messages_count")
        assert 0 < commits < 500, "one call for each message would be as many commits"

    async def test_an_error_is_its_own(self, broker: Broker, subject: str) -> None:
        calls = []
        for number in range(300):
            calls.append(broker.publish(subject, b"%d" % number))
            calls.append(broker.publish(subject, b"", expires=-1))
            calls.append(broker.publish("", b""))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[::3] == list(range(1, 301))
        for index, reason in ((1, "EXPIRATION_NEGATIVE"), (2, "SUBJECT_INVALID")):
            errors = results[index::3]
            assert {(type(error), error.reason) for error in errors} == {(InvalidRequest, reason)}
            assert len({id(error) for error in errors}) == 300, "each call raises an error of its own"

    async def test_what_is_no_message_ends_the_call(self, broker: Broker, subject: str) -> None:
        with pytest.raises(TypeError):
            await broker.publish_many([NewMessage(subject, b""), NewMessage(subject, "text")])  # type: ignore[arg-type]
        assert await broker.publish(subject, b"") == 1, "those before it were not sent yet, and are dropped"

    async def test_a_large_message_fails_alone_and_keeps_its_place(self) -> None:
        async with BrokerProcess("--store=memory", "--max-body=2Mi") as server, connect(server.address) as broker:
            bodies = [b"small", bytes(2 << 20), b"small", bytes(20 << 20), b"small", bytes(600_000), b"small"]
            calls = [broker.publish("s", body, expires=HOUR) for body in bodies]
            others = [broker.publish("t", b"%d" % number) for number in range(100)]
            results = await asyncio.gather(*calls, *others, return_exceptions=True)
            refused = results.pop(3)
            # The native door says what is wrong; gRPC itself only that a limit is reached.
            assert isinstance(refused, InvalidRequest | LimitReached)
            assert refused.reason in ("REQUEST_TOO_LARGE", "MESSAGE_TOO_LARGE")
            assert results == [*range(1, 7), *range(1, 101)]
            got = await everything(broker, "s", 6)
            assert [message.body for message in got] == [body for body in bodies if len(body) < (20 << 20)]

    async def test_those_who_wait_for_room_keep_their_order(self, broker: Broker, subject: str) -> None:
        count = MAX_MESSAGES + 2000
        ids = await asyncio.gather(*(broker.publish(subject, b"") for _ in range(count)))
        assert ids == list(range(1, count + 1))


class TestBackPressure:
    async def test_messages_are_taken_as_there_is_room(self, own: BrokerProcess) -> None:
        taken = 0
        total = MAX_MESSAGES + 5000

        def messages() -> Iterator[NewMessage]:
            nonlocal taken
            for _ in range(total):
                taken += 1
                yield NewMessage("s", b"")

        async def full() -> bool:
            return taken > MAX_MESSAGES

        async with connect(own.address, timeout=60) as broker:
            assert await broker.publish("s", b"") == 1
            own.pause()
            publishing = asyncio.create_task(broker.publish_many(messages()))
            await eventually(full, "all room is taken")
            assert taken == MAX_MESSAGES + 1
            with pytest.raises(DeadlineExceeded, match="too many messages wait") as raised:
                await broker.publish("other", b"", timeout=0.1)
            assert raised.value.retriable, "it certainly was not sent"
            own.resume()
            assert await publishing == list(range(2, total + 2))

    async def test_bytes_are_bounded(self, own: BrokerProcess) -> None:
        async with connect(own.address, timeout=60) as broker:
            await broker.publish("s", b"")
            own.pause()
            body = bytes(1 << 20)
            calls = [asyncio.create_task(broker.publish("s", body, timeout=60)) for _ in range(40)]
            await until_in_flight(broker)
            with pytest.raises(DeadlineExceeded, match="too many messages wait"):
                await broker.publish("other", b"", timeout=0.1)
            own.resume()
            assert await asyncio.gather(*calls) == list(range(2, 42))


class TestTime:
    async def test_a_timeout_is_the_messages_own(self, own: BrokerProcess) -> None:
        async with connect(own.address, timeout=30) as broker:
            await broker.publish("s", b"")
            own.pause()
            sent = asyncio.create_task(broker.publish("s", b"", timeout=0.2))
            await until_in_flight(broker)
            behind = asyncio.create_task(broker.publish("s", b"", timeout=0.2))
            patient = [asyncio.create_task(broker.publish(name, b"")) for name in ("s", "t")]
            with pytest.raises(DeadlineExceeded, match="may or may not be stored") as raised:
                await sent
            assert not raised.value.retriable
            with pytest.raises(DeadlineExceeded, match="not sent") as raised:
                await behind
            assert raised.value.retriable
            own.resume()
            assert await asyncio.gather(*patient) == [3, 1], "what was sent was published, what waited was not"

    async def test_cancelling_drops_what_was_not_sent(self, own: BrokerProcess) -> None:
        async with connect(own.address) as broker:
            await broker.publish("s", b"")
            own.pause()
            sent = asyncio.create_task(broker.publish("s", b"sent", expires=HOUR))
            await until_in_flight(broker)
            waiting = [asyncio.create_task(broker.publish("s", b"dropped")) for _ in range(100)]
            many = asyncio.create_task(broker.publish_many([NewMessage("s", b"dropped")] * 100))
            await asyncio.sleep(0)
            for task in (sent, *waiting, many):
                task.cancel()
            await asyncio.wait([sent, *waiting, many])
            own.resume()
            assert await broker.publish("s", b"") == 3, "the first was sent and is left alone, the others were dropped"
            assert (await broker.fetch("s", 2)).body == b"sent"

    async def test_a_stream_without_answers_is_given_up(
        self, own: BrokerProcess, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "broker.client")

        async def sent_again() -> bool:
            return "be sent again" in caplog.text

        async with connect(own.address, timeout=1) as broker:
            await broker.publish("s", b"")
            own.pause()
            publishing = asyncio.create_task(broker.publish("s", b"", timeout=60))
            await eventually(sent_again, "the client gives up the stream")
            own.resume()
            assert await publishing == 2
            assert await broker.publish("s", b"") == 3, "it came twice and was published once"


class TestClosing:
    async def test_leaving_waits_for_answers(self, own: BrokerProcess) -> None:
        async with connect(own.address) as broker:
            calls = [asyncio.create_task(broker.publish("s", b"")) for _ in range(MAX_MESSAGES + 100)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*calls) == list(range(1, len(calls) + 1))
        with pytest.raises(RuntimeError, match="closed"):
            await broker.publish("s", b"")

    async def test_what_has_no_answer_fails(self, own: BrokerProcess) -> None:
        async with connect(own.address, timeout=0.3) as broker:
            await broker.publish("s", b"")
            own.pause()
            sent = asyncio.create_task(broker.publish("s", b"", timeout=60))
            await until_in_flight(broker)
            waiting = asyncio.create_task(broker.publish("s", b"", timeout=60))
            await asyncio.sleep(0)
        with pytest.raises(OutcomeUnknown):
            await sent
        with pytest.raises(Unavailable, match="nothing was stored") as raised:
            await waiting
        assert (raised.value.reason, raised.value.retriable) == ("CLOSED", True)


class TestNeverTwice:
    async def test_kill_and_restart_among_thousands(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address, timeout=60) as broker:
            calls = [
                asyncio.create_task(broker.publish(f"s{number % SUBJECTS}", b"%d" % number, expires=HOUR))
                for number in range(5000)
            ]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(server.kill)
            assert not all(call.done() for call in calls)
            await asyncio.to_thread(server.restart)
            ids = await asyncio.gather(*calls)
            await published_once_in_order(broker, ids)

    async def test_drain_among_thousands(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address, timeout=60) as broker:
            calls = [
                asyncio.create_task(broker.publish(f"s{number % SUBJECTS}", b"%d" % number, expires=HOUR))
                for number in range(5000)
            ]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0
            await asyncio.to_thread(server.restart)
            await published_once_in_order(broker, await asyncio.gather(*calls))

    async def test_without_keys_a_killed_broker_leaves_doubt_and_no_double(self, tmp_path: Path) -> None:
        async with durable(tmp_path) as server, connect(server.address, timeout=60, idempotent=False) as broker:
            calls = [asyncio.create_task(broker.publish("s", b"%d" % number, expires=HOUR)) for number in range(5000)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            results = await asyncio.gather(*calls, return_exceptions=True)
            acknowledged = {number: result for number, result in enumerate(results) if isinstance(result, int)}
            doubtful = {number for number, result in enumerate(results) if isinstance(result, OutcomeUnknown)}
            assert len(acknowledged) + len(doubtful) == 5000
            last = await broker.publish("s", b"-1", expires=HOUR)
            stored = [int(message.body) for message in await everything(broker, "s", last)][:-1]
            assert len(stored) == len(set(stored)), "none was doubled"
            assert set(acknowledged) <= set(stored) <= set(acknowledged) | doubtful
            assert all(stored[message_id - 1] == number for number, message_id in acknowledged.items())

    async def test_a_lost_answer_is_asked_for_again(self, own: BrokerProcess) -> None:
        async with through_a_wire(own) as (broker, wire):
            message_id = await wire.without_its_answer(broker.publish("s", b""))
            assert (message_id, message_id.duplicate) == (2, False), "of which the caller notices nothing"
            assert await broker.publish("s", b"") == 3

    async def test_a_lost_answer_to_a_key_of_the_callers(self, own: BrokerProcess) -> None:
        async with through_a_wire(own) as (broker, wire):
            message_id = await wire.without_its_answer(broker.publish("s", b"", key="order-17"))
            assert (message_id, message_id.duplicate) == (2, False)
            message_id = await broker.publish("s", b"", key=b"order-17")
            assert (message_id, message_id.duplicate) == (2, True)

    async def test_a_lost_answer_without_a_key(self, own: BrokerProcess) -> None:
        async with through_a_wire(own, idempotent=False) as (broker, wire):
            with pytest.raises(OutcomeUnknown) as raised:
                await wire.without_its_answer(broker.publish("s", b""))
            assert not raised.value.retriable
            assert await broker.publish("s", b"") == 3
            message_id = await wire.without_its_answer(broker.publish("s", b"", key="k"))
            assert message_id == 4, "it has a key, so it was sent again"

    @pytest.mark.parametrize(("key", "may_repeat"), [("order-17", True), (None, False)])
    async def test_a_lost_answer_and_no_patience(self, own: BrokerProcess, key: str | None, may_repeat: bool) -> None:
        async with through_a_wire(own, wait_for_ready=False) as (broker, wire):
            with pytest.raises(OutcomeUnknown) as raised:
                await wire.without_its_answer(broker.publish("s", b"", key=key))
            assert raised.value.retriable is may_repeat

    async def test_a_key_is_taken_once_on_a_subject(self, broker: Broker, subject: str) -> None:
        first = await broker.publish(subject, b"first", expires=HOUR, key="k")
        again, elsewhere, another = await broker.publish_many(
            [
                NewMessage(subject, b"again", HOUR, key=b"k"),
                NewMessage(f"{subject}-2", b"", HOUR, key="k"),
                NewMessage(subject, b"", HOUR),
            ]
        )
        assert (first, again, elsewhere, another) == (1, 1, 1, 2)
        duplicates = [each.duplicate for each in (first, again, elsewhere, another) if isinstance(each, MessageId)]
        assert duplicates == [False, True, False, False]
        assert (await broker.fetch(subject, 1)).body == b"first"

    async def test_a_key_that_is_too_long(self, broker: Broker, subject: str) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await broker.publish(subject, b"", key="k" * 256)
        assert raised.value.reason == "MESSAGE_KEY_TOO_LONG"


class TestHeaders:
    async def test_they_travel_with_the_message(self, broker: Broker, subject: str) -> None:
        headers = {"content-type": b"text/plain", "bytes": bytes(range(256)), "": b""}
        async with broker.subscribe(subject) as messages:
            await broker.publish(subject, b"", expires=HOUR, headers=headers)
            await broker.publish_many([NewMessage(subject, b"", HOUR, headers=headers), NewMessage(subject, b"")])
            assert [message.headers for message in await take(messages, 3)] == [headers, headers, {}]
        assert (await broker.fetch(subject, 2)).headers == headers

    async def test_they_are_bounded(self, broker: Broker, subject: str) -> None:
        with pytest.raises(InvalidRequest) as raised:
            await broker.publish(subject, b"", headers={"large": bytes(9000)})
        assert raised.value.reason == "HEADERS_TOO_LARGE"


class Wire:
    """A wire to a broker that loses an answer when it is told to."""

    def __init__(self, server: BrokerProcess, cutter: Cutter) -> None:
        self._server = server
        self._cutter = cutter

    async def without_its_answer(self, publish: Coroutine[None, None, MessageId]) -> MessageId:
        """Publish; the broker commits the message, and the connection is cut before its answer arrives."""
        before = await self._committed()
        self._cutter.mute = True
        publishing = asyncio.create_task(publish)

        async def committed() -> bool:
            return await self._committed() > before

        await eventually(committed, "the message is committed")
        self._cutter.mute = False
        self._cutter.cut()
        return await publishing

    async def _committed(self) -> float:
        return await metric(self._server, "broker_messages_published_total{kind=transient}")


@asynccontextmanager
async def through_a_wire(server: BrokerProcess, **options: bool) -> AsyncIterator[tuple[Broker, Wire]]:
    """A connection that stands: the first message was published."""
    async with Cutter(int(server.address.rpartition(":")[2])) as cutter:
        async with connect(f"127.0.0.1:{cutter.port}", **options) as broker:
            assert await broker.publish("s", b"") == 1
            yield broker, Wire(server, cutter)


async def until_in_flight(broker: Broker) -> None:
    """Wait until something was sent that has no answer."""

    async def in_flight() -> bool:
        return any(True for _ in broker._publisher._outbox)

    await eventually(in_flight, "a frame is in flight")


async def everything(broker: Broker, subject: str, count: int) -> list[Message]:
    async with broker.subscribe(subject, start=EARLIEST) as messages:
        return await take(messages, count)


async def published_once_in_order(broker: Broker, ids: list[MessageId]) -> None:
    """Number N was published to subject N % SUBJECTS and got ids[N]: dense, in order, each once."""
    by_subject: defaultdict[int, list[int]] = defaultdict(list)
    for number, message_id in enumerate(ids):
        by_subject[number % SUBJECTS].append(message_id)
    for index, found in by_subject.items():
        assert found == list(range(1, len(found) + 1))
        last = await broker.publish(f"s{index}", b"-1", expires=HOUR)
        assert last == len(found) + 1, "nothing beyond what was acknowledged"
        got = await everything(broker, f"s{index}", last)
        assert [int(message.body) for message in got] == [*range(index, len(ids), SUBJECTS), -1]
