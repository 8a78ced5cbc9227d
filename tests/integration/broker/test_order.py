"""Ids are dense and in commit order, and every subscriber of a subject gets the same sequence."""

import asyncio
from collections import defaultdict
from pathlib import Path

import grpc
import pytest

from tests.support.brokers import Kind, eventually, metric
from tests.support.wire import HOUR, Wire, message, wire

EXPIRATIONS = [0, HOUR, 0, 7, 604_800]


async def publish_in_all_ways(client: Wire, subjects: list[str], publisher: int, rounds: int) -> dict[str, list]:
    """Publish one by one, in batches and on a stream; returns what was acknowledged: id, body, expiration."""
    acknowledged: dict[str, list] = defaultdict(list)
    stream = client.publish_stream()
    for number in range(rounds):
        expires = EXPIRATIONS[(publisher + number) % len(EXPIRATIONS)]
        messages = [
            message(subject, b"%d/%d/%d" % (publisher, number, at), expires) for at, subject in enumerate(subjects)
        ]
        match (publisher + number) % 3:
            case 0:
                ids = await asyncio.gather(*[client.publish(m.subject, m.body, expires) for m in messages])
            case 1:
                answer = await client.publish_batch(messages)
                assert not answer.errors
                ids = list(answer.ids)
            case _:
                await stream.send(*messages)
                response = await stream.receive()
                assert response is not None
                assert not response.errors
                ids = list(response.ids)
        for sent, message_id in zip(messages, ids, strict=True):
            acknowledged[sent.subject].append((message_id, sent.body, expires))
    await stream.close()
    assert await stream.receive() is None
    return acknowledged


async def test_ids_are_dense_whoever_publishes_in_whatever_way(client: Wire, subject: str) -> None:
    subjects = [f"{subject}-{number}" for number in range(10)]
    publishers = await asyncio.gather(*[publish_in_all_ways(client, subjects, each, 15) for each in range(8)])
    for name in subjects:
        for own in publishers:
            ids = [message_id for message_id, _, _ in own[name]]
            assert ids == sorted(ids), "what one publisher publishes after an acknowledgement gets a greater id"
        everything = sorted([one for own in publishers for one in own[name]])
        assert [message_id for message_id, _, _ in everything] == list(range(1, 121))
        stored = [(message_id, body) for message_id, body, expires in everything if expires]
        replay = client.subscribe(name, earliest=True)
        assert [(got.id, got.body) for got in await replay.take(len(stored))] == stored
        replay.cancel()


async def test_messages_of_one_frame_on_one_subject_get_rising_ids(client: Wire, subject: str) -> None:
    answer = await client.publish_batch([message(f"{subject}-{at % 2}", b"%d" % at, at % 3) for at in range(100)])
    assert list(answer.ids) == [at // 2 + 1 for at in range(100)]


async def test_every_subscriber_gets_the_same_messages_in_order_each_once(client: Wire, broker, subject: str) -> None:
    async with wire(broker.address) as other:
        subscriptions = [
            await connection.subscribed(subject, batch=batch)
            for connection in (client, other)
            for batch in (False, True)
            for _ in range(10)
        ]
        publishers = await asyncio.gather(*[publish_in_all_ways(client, [subject], each, 30) for each in range(6)])
        expected = sorted([(message_id, body) for own in publishers for message_id, body, _ in own[subject]])
        sequences = await asyncio.gather(*[subscription.until(180) for subscription in subscriptions])
        assert [[(got.id, got.body) for got in sequence] for sequence in sequences] == [expected] * 40
        assert {got.subject for sequence in sequences for got in sequence} == {subject}
        # Fire-and-forget messages among them, and the times are the same for all and do not run backwards.
        times = [[got.published_at.ToMilliseconds() for got in sequence] for sequence in sequences]
        assert times == [sorted(times[0])] * 40


async def test_ids_go_on_after_everything_expired(client: Wire, broker, subject: str) -> None:
    expired = await metric(broker, "broker_messages_expired_total")
    assert list((await client.publish_batch([message(subject, b"", 1)] * 20)).ids) == list(range(1, 21))

    async def deleted() -> bool:
        return await metric(broker, "broker_messages_expired_total") >= expired + 20

    await eventually(deleted, "all expired messages are deleted")
    assert await client.publish(subject) == 21


async def test_ids_go_on_after_restarts(kind: Kind, tmp_path: Path, subject: str) -> None:
    if not kind.durable:
        pytest.skip("a memory store ends with its process")
    with kind.process(tmp_path) as broker:
        for number, expires in enumerate([HOUR, 0, 1]):
            # The last of each life is of every sort: stored, fire-and-forget, soon expired.
            async with wire(broker.address) as client:
                answer = await client.publish_batch(
                    [message(subject, b"", HOUR)] * 4 + [message(subject, b"", expires)]
                )
                assert list(answer.ids) == [5 * number + at for at in range(1, 6)]
            broker.terminate()
            assert broker.wait() == 0
            broker.restart()
        async with wire(broker.address) as client:

            async def gone() -> bool:
                try:
                    await client.fetch(subject, 15)
                except grpc.aio.AioRpcError:
                    return True
                return False

            await eventually(gone, "the last message has expired")
            broker.restart()
        async with wire(broker.address) as client:
            assert await client.publish(subject, expires=0) == 16
