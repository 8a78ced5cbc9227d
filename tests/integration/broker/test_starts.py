"""Where a subscription begins: from now on, after an id, since a time, with the earliest."""

import asyncio
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind
from tests.support.wire import HOUR, Wire, message, wire

BATCH = pytest.mark.parametrize("batch", [False, True], ids=["Subscribe", "SubscribeBatch"])
counter = iter(range(1 << 30))


@BATCH
async def test_from_now_on(client: Wire, subject: str, batch: bool) -> None:
    for _ in range(3):
        await client.publish(subject)
    subscription = await client.subscribed(subject, batch=batch)
    for expires in (0, HOUR):
        await client.publish(subject, expires=expires)
    assert await subscription.ids_until(5) == [4, 5]
    subscription.cancel()


@BATCH
async def test_from_now_on_under_load(client: Wire, broker: BrokerProcess, subject: str, batch: bool) -> None:
    """Each has everything published after it stood, and nothing acknowledged before it was asked for."""
    acknowledged = 0

    async def publish() -> None:
        nonlocal acknowledged
        async with wire(broker.address) as publisher:
            for number in range(100):
                answer = await publisher.publish_batch([message(subject, b"", number % 2 * HOUR)] * 3)
                acknowledged = answer.ids[-1]

    async def subscribe() -> None:
        await asyncio.sleep(0)
        before = acknowledged
        subscription = await client.subscribed(subject, batch=batch)
        after = acknowledged
        ids = await subscription.ids_until(300)
        assert ids == list(range(ids[0], 301))
        # The frame under way may have been committed before the subscription stood.
        assert before < ids[0] <= after + 3 + 1
        # Who loses the stream now goes on after the position: it must not be beyond the first message.
        assert subscription.position in (None, ids[0] - 1)
        subscription.cancel()

    load = asyncio.create_task(publish())
    subscribers = []
    while acknowledged < 270:
        seen = acknowledged
        subscribers.append(asyncio.create_task(subscribe()))
        while acknowledged == seen:
            await asyncio.sleep(0)
    await load
    assert len(subscribers) > 5
    await asyncio.gather(*subscribers)


async def test_a_subscription_from_now_on_is_told_its_position(client: Wire, subject: str) -> None:
    for known in (0, 2):
        subscription = await client.subscribed(subject, batch=True)
        await client.publish_batch([message(subject)] * 2)
        assert await subscription.ids_until(known + 2) == [known + 1, known + 2]
        assert subscription.position == known or known == 0
        subscription.cancel()


async def test_a_position_is_never_beyond_what_is_yet_to_come(kind: Kind, tmp_path: Path, subject: str) -> None:
    """It is read from the store, where a commit may stand that the live flow has yet to bring."""
    with kind.process(tmp_path, "--cache-bytes=0") as broker:
        async with wire(broker.address) as client, wire(broker.address) as publisher:

            async def publish() -> None:
                while True:
                    await publisher.publish_batch([message(subject)] * 3)

            load = asyncio.create_task(publish())
            for _ in range(100):
                subscription = await client.subscribed(subject, batch=True)
                first = await subscription.next()
                assert subscription.position in (None, first.id - 1)
                subscription.cancel()
            load.cancel()
            await asyncio.wait([load])


@BATCH
async def test_earliest_that_is_false_is_from_now_on(client: Wire, subject: str, batch: bool) -> None:
    await client.publish(subject)
    subscription = await client.subscribed(subject, batch=batch, earliest=False)
    await client.publish(subject)
    assert (await subscription.next()).id == 2
    subscription.cancel()


@BATCH
async def test_a_subject_that_has_nothing_yet(client: Wire, subject: str, batch: bool) -> None:
    starts = [{}, {"after_id": 0}, {"earliest": True}, {"since": Timestamp(seconds=0)}]
    subscriptions = [await client.subscribed(subject, batch=batch, **start) for start in starts]
    await client.publish(subject, expires=0)
    for subscription in subscriptions:
        assert (await subscription.next()).id == 1
        subscription.cancel()


@BATCH
async def test_a_resumed_subscription_goes_on_without_hole_or_repeat(client: Wire, subject: str, batch: bool) -> None:
    """Resume again and again after the last id, while messages come."""

    async def publish() -> None:
        for _ in range(100):
            await client.publish_batch([message(subject)] * 3)

    load = asyncio.create_task(publish())
    last_id = 0
    while last_id < 300:
        subscription = client.subscribe(subject, batch=batch, after_id=last_id)
        ids = [got.id for got in await subscription.take(min(7, 300 - last_id))]
        assert ids == list(range(last_id + 1, ids[-1] + 1))
        last_id = ids[-1]
        subscription.cancel()
    await load


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=st.lists(st.lists(st.sampled_from([0, HOUR]), min_size=1, max_size=4), max_size=6),
    start=st.sampled_from(["latest", "earliest", "after_id", "since"]),
    at=st.integers(0, 6),
    batch=st.booleans(),
)
async def test_any_start_in_any_history(
    broker: BrokerProcess, history: list[list[int]], start: str, at: int, batch: bool
) -> None:
    subject = f"history-{next(counter)}"
    async with wire(broker.address) as client:
        stored: list[tuple[int, int]] = []
        last_id = 0
        times = [0]
        for expirations in history:
            answer = await client.publish_batch([message(subject, b"", expires) for expires in expirations])
            last_id = answer.ids[-1]
            for message_id, expires in zip(answer.ids, expirations, strict=True):
                if expires:
                    published_at = (await client.fetch(subject, message_id)).published_at.ToNanoseconds()
                    stored.append((message_id, published_at))
                    times.append(published_at)
        match start:
            case "latest":
                wish, expected = {}, []
            case "earliest":
                wish, expected = {"earliest": True}, [one for one, _ in stored]
            case "after_id":
                after = min(at, last_id)
                wish, expected = {"after_id": after}, [one for one, _ in stored if one > after]
            case _:
                # A nanosecond after a message it is already excluded.
                since = times[min(at // 2, len(times) - 1)] + at % 2
                moment = Timestamp()
                moment.FromNanoseconds(since)
                wish, expected = {"since": moment}, [one for one, published_at in stored if published_at >= since]
        subscription = await client.subscribed(subject, batch=batch, **wish)
        live = (await client.publish_batch([message(subject, b"", 0), message(subject)])).ids
        assert await subscription.ids_until(live[-1]) == [*expected, *live]
        subscription.cancel()
