"""A subscriber that stops reading loses nothing that is stored, and holds nobody back."""

import asyncio
from pathlib import Path

import pytest

from tests.support.brokers import Kind, eventually, metric, resident
from tests.support.wire import HOUR, SMALL_WINDOW, message, wire

BODY = bytes(4000)
FRAMES, FRAME = 100, 10  # 4 MB, 60 times the queue


@pytest.mark.parametrize("cache", ["0", "1Mi"], ids=["without-cache", "with-cache"])
@pytest.mark.parametrize("batch", [False, True], ids=["Subscribe", "SubscribeBatch"])
async def test_a_subscriber_that_stops_reading_gets_everything_stored_later(
    kind: Kind, tmp_path: Path, subject: str, batch: bool, cache: str
) -> None:
    last_id = FRAMES * FRAME
    with kind.process(tmp_path, "--subscription-queue-bytes=64Ki", f"--cache-bytes={cache}") as broker:
        async with wire(broker.address) as client, wire(broker.address, *SMALL_WINDOW) as slow_client:
            fast = [await client.subscribed(subject, batch=way) for way in (False, True)]
            slow = await slow_client.subscribed(subject, batch=batch)
            before = resident(broker)
            transient: set[int] = set()
            for number in range(FRAMES):
                expirations = [0 if (number + at) % 5 == 0 else HOUR for at in range(FRAME)]
                answer = await client.publish_batch([message(subject, BODY, expires) for expires in expirations])
                transient.update([one for one, expires in zip(answer.ids, expirations, strict=True) if not expires])
                # The others have everything live while this one does not read.
                for one in fast:
                    assert await one.ids_until(answer.ids[-1]) == list(answer.ids)
            assert await metric(broker, "broker_subscriptions_lagging") == 1
            assert await metric(broker, "broker_subscription_overflows_total") == 1
            if kind.durable:
                assert resident(broker) - before < 24 << 20, "what waits for it is in the store, not in memory"

            # It reads on, and goes on live once it has caught up.
            got = await slow.until(last_id)
            ids = [one.id for one in got]
            assert ids == sorted(set(ids)), "in order, each once"
            missed = set(range(1, last_id + 1)) - set(ids)
            assert missed <= transient, "everything that is stored"
            assert missed, "the test had no effect"
            assert {one.body for one in got} == {BODY}
            assert await metric(broker, "broker_messages_missed_total") == len(missed)

            async def live() -> bool:
                return await metric(broker, "broker_subscriptions_lagging") == 0

            await eventually(live, "it has rejoined the live flow")
            for expires in (0, HOUR, 0):
                await client.publish(subject, b"live", expires)
            assert await slow.ids_until(last_id + 3) == [last_id + 1, last_id + 2, last_id + 3]
            delivered = await metric(broker, "broker_messages_delivered_total")
            assert delivered == 3 * (last_id + 3) - len(missed)


async def test_many_that_stop_and_read_in_turns(kind: Kind, tmp_path: Path, subject: str) -> None:
    """They overflow, catch up, rejoin and overflow again, while messages come."""
    last_id = 3000
    with kind.process(tmp_path, "--subscription-queue-bytes=16Ki", "--cache-bytes=256Ki") as broker:
        async with wire(broker.address) as client, wire(broker.address, *SMALL_WINDOW) as slow_client:
            published = asyncio.Event()
            total = 0

            async def publish() -> None:
                nonlocal total
                while total < last_id:
                    total += len((await client.publish_batch([message(subject, BODY)] * 30)).ids)
                    published.set()

            async def read(batch: bool, step: int) -> list[int]:
                subscription = await slow_client.subscribed(subject, batch=batch)
                ids: list[int] = []
                while not ids or ids[-1] < last_id:
                    # Read only when far behind, and then until nearly there.
                    while total < last_id and total < (ids[-1] if ids else 0) + step:
                        published.clear()
                        await published.wait()
                    ids += [got.id for got in await subscription.take(min(step, last_id - len(ids)))]
                subscription.cancel()
                return ids

            readers = [asyncio.create_task(read(number % 2 == 0, 50 + 150 * number)) for number in range(6)]

            async def all_stand() -> bool:
                return await metric(broker, "broker_subscriptions") == 6

            await eventually(all_stand, "all subscriptions stand")
            await publish()
            assert await asyncio.gather(*readers) == [list(range(1, last_id + 1))] * 6


async def test_what_expires_before_a_slow_subscriber_reads_it_is_counted(
    kind: Kind, tmp_path: Path, subject: str
) -> None:
    with kind.process(tmp_path, "--subscription-queue-bytes=16Ki") as broker:
        async with wire(broker.address) as client, wire(broker.address, *SMALL_WINDOW) as slow_client:
            slow = await slow_client.subscribed(subject)
            for _ in range(50):
                await client.publish_batch([message(subject, BODY, 1)] * 20)

            async def expired() -> bool:
                return await metric(broker, "broker_messages_expired_total") == 1000

            await eventually(expired, "all have expired")
            last_id = await client.publish(subject)
            ids = await slow.ids_until(last_id)
            assert ids == sorted(set(ids))
            assert 0 < await metric(broker, "broker_messages_missed_total") == last_id - len(ids)
