"""Acknowledged means durable: what kill -9 under load leaves behind."""

import asyncio
from collections import defaultdict
from pathlib import Path

import grpc
import pytest

from tests.support.brokers import Kind
from tests.support.wire import Wire, message, wire

Acknowledged = dict[str, dict[int, bytes]]
"""Bodies by subject and id."""

LIVES = 3


def note(acknowledged: Acknowledged, subject: str, message_id: int, body: bytes) -> None:
    assert message_id not in acknowledged[subject], f"id {message_id} of {subject} was given twice"
    acknowledged[subject][message_id] = body


async def publish_one_by_one(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    number = 0
    while True:
        number += 1
        subject, body = f"subject-{number % 3}", b"%s %d" % (name.encode(), number) * 20
        note(acknowledged, subject, await client.publish(subject, body), body)


async def publish_batches(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    number = 0
    while True:
        number += 1
        frame = [message(f"subject-{at % 3}", b"%s %d %d" % (name.encode(), number, at) * 20) for at in range(30)]
        answer = await client.publish_batch(frame)
        assert not answer.errors
        for sent, message_id in zip(frame, answer.ids, strict=True):
            note(acknowledged, sent.subject, message_id, sent.body)


async def publish_a_stream(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    stream = client.publish_stream()
    sent = []

    async def send() -> None:
        number = 0
        while True:
            number += 1
            sent.append(
                [message(f"subject-{at % 3}", b"%s %d %d" % (name.encode(), number, at) * 20) for at in range(30)]
            )
            await stream.send(*sent[-1])

    async def receive() -> None:
        while answer := await stream.receive():
            assert not answer.errors
            for one, message_id in zip(sent.pop(0), answer.ids, strict=True):
                note(acknowledged, one.subject, message_id, one.body)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        group.create_task(receive())


async def watch(client: Wire, seen: Acknowledged) -> None:
    subscription = await client.subscribed("subject-0", batch=True, earliest=True)
    while True:
        got = await subscription.next()
        seen["subject-0"][got.id] = got.body


async def test_everything_acknowledged_is_there_after_kill_nine(kind: Kind, tmp_path: Path) -> None:
    if not kind.durable:
        pytest.skip("a memory store ends with its process")
    acknowledged: Acknowledged = defaultdict(dict)
    seen: Acknowledged = defaultdict(dict)
    with kind.process(tmp_path) as broker:
        for life in range(LIVES):
            async with wire(broker.address) as client:
                publishers = (publish_one_by_one, publish_one_by_one, publish_batches, publish_a_stream)
                tasks = [
                    asyncio.create_task(publish(client, f"{life} {number}", acknowledged))
                    for number, publish in enumerate(publishers)
                ]
                tasks.append(asyncio.create_task(watch(client, seen)))
                enough = sum(map(len, acknowledged.values())) + 3000
                while sum(map(len, acknowledged.values())) < enough or not seen["subject-0"]:
                    await asyncio.sleep(0)
                    assert not [task.result() for task in tasks if task.done()]
                broker.kill()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
                errors = [inner for end in ends for inner in getattr(end, "exceptions", [end])]
                assert all(isinstance(error, grpc.aio.AioRpcError | asyncio.CancelledError) for error in errors), errors
            broker.restart()
            async with wire(broker.address) as client:
                for subject, messages in acknowledged.items():
                    last_id = await client.publish(subject, b"after")
                    replay = client.subscribe(subject, batch=True, after_id=0)
                    stored = {got.id: got.body for got in await replay.until(last_id)}
                    # More may be stored than was acknowledged, never less, and never anything else under its id.
                    assert list(stored) == list(range(1, last_id + 1))
                    for known in (messages, seen[subject]):
                        assert known.items() <= stored.items()
                    note(acknowledged, subject, last_id, b"after")
                    for message_id in (min(messages), max(messages)):
                        assert (await client.fetch(subject, message_id)).body == messages[message_id]
