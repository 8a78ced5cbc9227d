"""Keys and headers through every call, on every store."""

import asyncio
from pathlib import Path

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support.brokers import Kind, metric
from tests.support.wire import HOUR, SMALL_WINDOW, Wire, message, wire

HEADERS = {"content-type": b"text/plain", "é": b"\0\xff", "": b""}


async def publish(client: Wire, request: pb.PublishRequest) -> pb.PublishResponse:
    return pb.PublishResponse.FromString(await client.raw("Publish", request.SerializeToString()))


# --- keys ---


@pytest.mark.parametrize("expires", [0, HOUR], ids=["transient", "stored"])
async def test_a_key_is_published_once_in_whichever_call(client: Wire, subject: str, expires: int) -> None:
    subscription = await client.subscribed(subject)
    first = message(subject, b"first", expires, key=b"k")
    again = message(subject, b"again", expires, key=b"k")
    assert await publish(client, first) == pb.PublishResponse(id=1)
    assert await publish(client, again) == pb.PublishResponse(id=1, duplicate=True)
    bad = message("", b"", key=b"k")
    frame = [message(subject, b"second", expires), again, bad, message(subject, b"third", expires, key=b"l"), again]
    stream = client.publish_stream()
    await stream.send(*frame)
    streamed = await stream.receive()
    assert streamed is not None
    assert list(streamed.ids) == [2, 1, 0, 3, 1]
    assert list(streamed.duplicates) == [1, 4]
    assert [error.index for error in streamed.errors] == [2]
    answer = await client.publish_batch(frame)
    assert list(answer.ids) == [4, 1, 0, 3, 1]
    assert list(answer.duplicates) == [1, 3, 4]
    await client.publish(subject, b"end", expires)
    bodies = [(got.id, got.body) for got in await subscription.until(5)]
    assert bodies == [(1, b"first"), (2, b"second"), (3, b"third"), (4, b"second"), (5, b"end")]


async def test_two_with_one_key_in_one_frame(client: Wire, subject: str) -> None:
    frame = [message(subject, b"%d" % number, key=b"k") for number in range(3)]
    answer = await client.publish_batch([message(subject, b""), *frame])
    assert list(answer.ids) == [1, 2, 2, 2]
    assert list(answer.duplicates) == [2, 3]
    assert (await client.fetch(subject, 2)).body == b"0"


async def test_calls_at_the_same_time_with_one_key_publish_once(client: Wire, subject: str) -> None:
    answers = await asyncio.gather(*[publish(client, message(subject, key=b"%d" % (n % 3))) for n in range(60)])
    assert sorted(answer.id for answer in answers if not answer.duplicate) == [1, 2, 3]
    assert all(answers[number].id == answers[number % 3].id for number in range(60))
    assert await client.publish(subject) == 4


async def test_subjects_do_not_share_keys(client: Wire, subject: str) -> None:
    answer = await client.publish_batch([message(f"{subject}-{name}", key=b"k") for name in "abab"])
    assert list(answer.ids) == [1, 1, 1, 1]
    assert list(answer.duplicates) == [2, 3]


async def test_a_key_may_come_again_after_the_window(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--deduplication-window=0.5") as broker:
        async with wire(broker.address) as client:
            assert (await publish(client, message(subject, key=b"k"))).id == 1
            answers = []
            while not answers or answers[-1].duplicate:
                answers.append(await publish(client, message(subject, key=b"k")))
            assert {answer.id for answer in answers[:-1]} == {1}
            assert answers[-1] == pb.PublishResponse(id=2)
            assert await metric(broker, "broker_messages_duplicate_total") == len(answers) - 1
            assert await metric(broker, "broker_messages_published_total{kind=stored}") == 2


async def test_keys_are_ignored_without_a_window(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--deduplication-window=0") as broker:
        async with wire(broker.address) as client:
            answer = await client.publish_batch([message(subject, key=b"k")] * 3)
            assert (list(answer.ids), list(answer.duplicates)) == ([1, 2, 3], [])
            failure = await client.failure("Publish", message(subject, key=bytes(256)))
            assert failure.reason == "MESSAGE_KEY_TOO_LONG"


async def test_a_publish_that_is_sent_again_after_kill_nine_is_there_once(kind: Kind, tmp_path: Path) -> None:
    """Publishers that know no answer send the same again, until there is one."""
    if not kind.durable:
        pytest.skip("a memory store ends with its process")
    acknowledged: dict[tuple[str, bytes], int] = {}
    lives = 0

    async def publish_on(name: str) -> None:
        number = 0
        while lives < 3 or number % 5:
            number += 1
            keys = [b"%s %d %d" % (name.encode(), number, each) for each in range(20)]
            frame = [message(f"subject-{at % 2}", key, key=key) for at, key in enumerate(keys)]
            while True:
                try:
                    async with wire(broker.address) as client:
                        answer = await client.publish_batch(frame)
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.01)
            assert not answer.errors
            for sent, message_id in zip(frame, answer.ids, strict=True):
                acknowledged[sent.subject, sent.body] = message_id

    with kind.process(tmp_path) as broker:
        publishers = [asyncio.create_task(publish_on(name)) for name in "abcd"]
        while lives < 3:
            enough = len(acknowledged) + 400
            while len(acknowledged) < enough:
                await asyncio.sleep(0.001)
                assert not any(task.done() for task in publishers)
            broker.kill()
            await asyncio.to_thread(broker.restart)
            lives += 1
        await asyncio.gather(*publishers)
        async with wire(broker.address) as client:
            for subject in ("subject-0", "subject-1"):
                last_id = await client.publish(subject)
                stored = await client.subscribe(subject, batch=True, after_id=0).until(last_id)
                assert [got.id for got in stored] == list(range(1, last_id + 1))
                published = {got.body: got.id for got in stored[:-1]}
                assert len(published) == len(stored) - 1, "published twice"
                assert published == {body: id_ for (name, body), id_ in acknowledged.items() if name == subject}


# --- headers ---


@pytest.mark.parametrize("batch", [False, True], ids=["Subscribe", "SubscribeBatch"])
async def test_headers_come_with_the_message_live_and_from_memory(client: Wire, subject: str, batch: bool) -> None:
    live = await client.subscribed(subject, batch=batch)
    frame = [message(subject, b"plain"), message(subject, b"with", headers=HEADERS), message(subject, b"", 0)]
    await client.publish_batch(frame)
    for subscription in (live, client.subscribe(subject, batch=batch, after_id=0)):
        got = await subscription.take(2)
        assert [(one.body, dict(one.headers)) for one in got] == [(b"plain", {}), (b"with", HEADERS)]
    for message_id, headers in ((1, {}), (2, HEADERS)):
        assert (await client.fetch(subject, message_id)).headers == headers


@pytest.mark.parametrize("batch", [False, True], ids=["Subscribe", "SubscribeBatch"])
async def test_headers_come_with_the_message_from_the_store(
    kind: Kind, tmp_path: Path, subject: str, batch: bool
) -> None:
    headers = [{str(number): bytes(number)} if number % 3 else {} for number in range(600)]
    with kind.process(tmp_path, "--cache-bytes=0", "--subscription-queue-bytes=16Ki") as broker:
        async with wire(broker.address) as client, wire(broker.address, *SMALL_WINDOW) as slow_client:
            slow = await slow_client.subscribed(subject, batch=batch)
            for begin in range(0, 600, 100):
                part = headers[begin : begin + 100]
                await client.publish_batch([message(subject, bytes(1000), headers=each) for each in part])
            assert await metric(broker, "broker_subscription_overflows_total") == 1, "the test had no effect"
            late = client.subscribe(subject, batch=batch, after_id=0)
            for subscription in (slow, late):
                assert [dict(got.headers) for got in await subscription.until(600)] == headers
            assert (await client.fetch(subject, 600)).headers == headers[-1]
            if kind.durable:
                broker.restart()
        async with wire(broker.address) as client:
            if kind.durable:
                assert (await client.fetch(subject, 599)).headers == headers[-2]


async def test_the_last_of_two_headers_with_one_name_counts(client: Wire, subject: str) -> None:
    again = pb.PublishRequest(headers={"a": b"2"})
    await client.raw("Publish", message(subject, headers={"a": b"1"}).SerializeToString() + again.SerializeToString())
    got = await client.raw("Fetch", pb.FetchRequest(subject=subject, id=1).SerializeToString())
    assert got.count(b"\x0a\x01a") == 1
    assert pb.Message.FromString(got).headers == {"a": b"2"}


async def test_a_limit_of_the_headers(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path, "--max-headers=10") as broker:
        async with wire(broker.address) as client:
            assert (await publish(client, message(subject, headers={"12345": b"67890"}))).id == 1
            failure = await client.failure("Publish", message(subject, headers={"12345": b"67890", "a": b""}))
            assert failure.reason == "HEADERS_TOO_LARGE"
            assert failure.metadata == {"field": "headers", "limit": "10"}
