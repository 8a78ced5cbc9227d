"""Expiry to the second, and messages that are delivered live or not at all."""

import asyncio
import time

import grpc

from broker.api import broker_pb2 as pb
from tests.support.wire import HOUR, Failure, Wire, message


async def test_a_message_can_be_fetched_until_its_second_has_passed_and_not_after(client: Wire, subject: str) -> None:
    async def one(expires: int) -> None:
        sent_at = time.time()
        message_id = await client.publish(subject, b"", expires)
        published_at = (await client.fetch(subject, message_id)).published_at.ToMilliseconds() / 1000
        found = True
        while found:
            asked_at = time.time()
            try:
                await client.fetch(subject, message_id)
                assert asked_at < published_at + expires, "fetched after its expiry"
            except grpc.aio.AioRpcError as error:
                assert Failure.of(error).reason == "MESSAGE_NOT_FOUND"
                found = False
            await asyncio.sleep(0.005)
        # The server counts whole milliseconds.
        assert time.time() > sent_at + expires - 0.001, "gone before its expiry"

    await asyncio.gather(*[one(expires) for expires in (1, 2, 1)])


async def test_what_has_expired_is_not_replayed(client: Wire, subject: str) -> None:
    waiting = await client.subscribed(subject)
    expirations = [HOUR, 1, 0, 1, HOUR, 1]
    await client.publish_batch([message(subject, b"", expires) for expires in expirations])
    assert await waiting.ids_until(6) == [1, 2, 3, 4, 5, 6]
    waiting.cancel()
    while True:
        try:
            await client.fetch(subject, 6)
        except grpc.aio.AioRpcError:
            break
        await asyncio.sleep(0.02)
    last_id = await client.publish(subject)
    for batch in (False, True):
        for start in ({"earliest": True}, {"after_id": 0}):
            replay = client.subscribe(subject, batch=batch, **start)
            assert await replay.ids_until(last_id) == [1, 5, 7]
            replay.cancel()
        replay = client.subscribe(subject, batch=batch, after_id=2)
        assert await replay.ids_until(last_id) == [5, 7]
        replay.cancel()


async def test_fire_and_forget_is_delivered_live_and_nowhere_else(client: Wire, subject: str) -> None:
    live = await client.subscribed(subject)
    answer = await client.publish_batch([message(subject, b"%d" % at, 0) for at in range(5)])
    assert [(got.id, got.body) for got in await live.take(5)] == [(at + 1, b"%d" % at) for at in range(5)]
    for message_id in answer.ids:
        failure = await client.failure("Fetch", pb.FetchRequest(subject=subject, id=message_id))
        assert failure.reason == "MESSAGE_NOT_FOUND"
    late = await client.subscribed(subject, earliest=True)
    assert await client.publish(subject) == 6
    assert (await late.next()).id == 6
    live.cancel()
    late.cancel()
