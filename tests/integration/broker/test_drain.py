"""SIGTERM: what was accepted is answered and stored, what comes is refused, and everybody is told."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind, eventually, http, metric
from tests.support.http2 import http2
from tests.support.wire import HOUR, SMALL_WINDOW, Failure, Wire, message, wire

DRAINING = Failure(grpc.StatusCode.UNAVAILABLE, "DRAINING", "brokercluster.dev")
WATCH = "/grpc.health.v1.Health/Watch"

Acknowledged = dict[str, dict[int, bytes]]


def told(error: grpc.aio.AioRpcError) -> None:
    """A call was refused by a broker that drains, or never reached it; nothing else may happen to it."""
    failure = Failure.of(error)
    if failure.reason:
        assert failure == DRAINING
        return
    # The door was closed, or closed while the call waited to be let in (grpcio: CANCELLED), or the client's library
    # wrote to a stream that had ended (grpcio: INTERNAL, made up on the client's side).
    assert failure.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) or (
        failure.message == "Internal error from Core"
    ), failure


async def publish_one_by_one(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    for number in range(1 << 30):
        body = b"%s %d" % (name.encode(), number)
        acknowledged[f"subject-{number % 2}"][await client.publish(f"subject-{number % 2}", body)] = body


async def publish_batches(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    for number in range(1 << 30):
        frame = [message(f"subject-{at % 2}", b"%s %d %d" % (name.encode(), number, at)) for at in range(20)]
        answer = await client.publish_batch(frame)
        assert not answer.errors
        for sent, message_id in zip(frame, answer.ids, strict=True):
            acknowledged[sent.subject][message_id] = sent.body


async def publish_a_stream(client: Wire, name: str, acknowledged: Acknowledged) -> None:
    stream = client.publish_stream()
    for number in range(1 << 30):
        frame = [message("subject-0", b"%s %d %d" % (name.encode(), number, at)) for at in range(20)]
        await stream.send(*frame)
        answer = await stream.receive()
        assert answer is not None
        for sent, message_id in zip(frame, answer.ids, strict=True):
            acknowledged["subject-0"][message_id] = sent.body


async def until_refused(
    publish: Callable[[Wire, str, Acknowledged], Awaitable[None]], client: Wire, name: str, acknowledged: Acknowledged
) -> None:
    try:
        await publish(client, name, acknowledged)
    except grpc.aio.AioRpcError as error:
        told(error)


async def follow(client: Wire, seen: Acknowledged, *, batch: bool) -> None:
    subscription = await client.subscribed("subject-0", batch=batch)
    ids: list[int] = []
    try:
        while True:
            got = await subscription.next()
            ids.append(got.id)
            seen["subject-0"][got.id] = got.body
    except grpc.aio.AioRpcError as error:
        assert Failure.of(error) == DRAINING
        assert ids == list(range(ids[0], ids[-1] + 1))


async def test_everything_accepted_under_load_is_answered_and_stored(kind: Kind, tmp_path: Path) -> None:
    acknowledged: Acknowledged = defaultdict(dict)
    seen: Acknowledged = defaultdict(dict)
    with kind.process(tmp_path) as broker:
        async with wire(broker.address) as client, wire(broker.address) as other:
            followers = [asyncio.create_task(follow(other, seen, batch=batch)) for batch in (False, True)]
            publishers = [publish_one_by_one] * 10 + [publish_batches] * 3 + [publish_a_stream] * 3
            load = [
                asyncio.create_task(until_refused(publish, client, str(number), acknowledged))
                for number, publish in enumerate(publishers)
            ]
            while sum(map(len, acknowledged.values())) < 3000 or not seen["subject-0"]:
                await asyncio.sleep(0)
            broker.terminate()
            await asyncio.gather(*load, *followers)
        assert await asyncio.to_thread(broker.wait) == 0
        assert "Traceback" not in broker.log
        both = acknowledged["subject-0"].keys() & seen["subject-0"].keys()
        assert both
        assert {one: acknowledged["subject-0"][one] for one in both} == {one: seen["subject-0"][one] for one in both}
        if not kind.durable:
            return
        broker.restart()
        async with wire(broker.address) as client:
            for subject, known in acknowledged.items():
                last_id = await client.publish(subject)
                stored = {got.id: got.body for got in await client.subscribe(subject, after_id=0).until(last_id)}
                assert list(stored) == list(range(1, last_id + 1))
                assert known.items() <= stored.items()
                assert seen[subject].items() <= stored.items()
                # Everything was answered, so nothing but what was acknowledged is stored.
                assert len(known) == last_id - 1


async def test_hundreds_of_calls_in_flight_are_answered_or_refused(kind: Kind, tmp_path: Path, subject: str) -> None:
    """What was answered is what is stored, to the last message."""
    call = h.grpc_message(message(subject, b"in flight").SerializeToString())
    with kind.process(tmp_path) as broker:
        async with http2(broker.address) as client:
            sent, told = 0, False
            while not client.closed:
                for _ in range(256 - (sent - client.ended)):
                    client.send(h.request(2 * sent + 1, "/broker.Broker/Publish", call))
                    sent += 1
                if client.ended > 3000 and not told:
                    broker.terminate()  # once: a second one ends what has drained, but not exited yet
                    told = True
                before = client.ended
                await client.until(lambda: client.ended > before or client.closed, "calls are answered")  # noqa: B023
            statuses = Counter(client.replies[2 * number + 1].status for number in range(sent))
        assert await asyncio.to_thread(broker.wait) == 0
        assert "Traceback" not in broker.log
        cancelled = {1} if kind.door == "grpcio" else set()
        assert statuses.keys() <= {0, 14, None} | cancelled, statuses
        assert statuses[0] > 3000
        assert len(statuses) > 1, "the test had no effect: nothing was in flight"
        if kind.durable:
            broker.restart()
            async with wire(broker.address) as other:
                assert await other.publish(subject) == statuses[0] + 1


async def test_frames_that_were_sent_ahead_are_answered_or_not_stored(kind: Kind, tmp_path: Path, subject: str) -> None:
    with kind.process(tmp_path) as broker:
        async with wire(broker.address) as client:
            stream = client.publish_stream()
            for number in range(12):
                await stream.send(*[message(subject, b"%d" % number)] * 400)
            first = await stream.receive()
            assert first is not None
            broker.terminate()
            ids = list(first.ids)
            try:
                while answer := await stream.receive():
                    ids += answer.ids
            except grpc.aio.AioRpcError as error:
                assert Failure.of(error) == DRAINING
            assert ids == list(range(1, len(ids) + 1))
        assert await asyncio.to_thread(broker.wait) == 0
        if kind.durable:
            broker.restart()
            async with wire(broker.address) as client:
                assert await client.publish(subject) == len(ids) + 1


async def test_what_waits_for_the_store_is_answered_and_what_comes_is_refused(
    kind: Kind, tmp_path: Path, subject: str
) -> None:
    if not kind.durable:
        pytest.skip("a memory store lets nobody wait")
    with kind.process(tmp_path) as broker:
        async with wire(broker.address) as client:
            live, quiet = await client.subscribed(subject), await client.subscribed("quiet")
            watch = client.channel.unary_stream(WATCH)(b"")
            await watch.read()
            async with kind.busy(tmp_path):
                stream, late = client.publish_stream(), client.publish_stream()
                await stream.send(message(subject), message(subject))
                waiting = [asyncio.create_task(client.publish(subject)) for _ in range(3)]
                batch = asyncio.create_task(client.publish_batch([message(subject)] * 5))

                async def all_wait() -> bool:
                    return await metric(broker, "broker_queue_messages") == 10

                await eventually(all_wait, "10 messages wait for the store")
                await late.call.initial_metadata()
                broker.terminate()
                for subscription in (live, quiet):
                    assert await subscription.failure() == DRAINING
                assert await late.failure() == DRAINING
                assert HealthCheckResponse.FromString(await watch.read()).status == HealthCheckResponse.NOT_SERVING
                assert await readyz(broker) == 503
                for method in ("Publish", "PublishBatch", "Fetch", "Subscribe", "SubscribeBatch"):
                    assert await client.failure(method, message(subject)) == DRAINING
                assert await client.publish_stream().failure() == DRAINING
                assert await says_elsewhere(client, subject)
                refused = "broker_calls_total{code=UNAVAILABLE,method=Publish}"
                assert await metric(broker, refused) == 2
                assert not [task for task in (*waiting, batch) if task.done()]
            streamed = await stream.receive()
            assert streamed is not None
            ids = [*streamed.ids, *(await batch).ids, *await asyncio.gather(*waiting)]
            assert sorted(ids) == list(range(1, 11))
            assert await stream.failure() == DRAINING
        assert await asyncio.to_thread(broker.wait) == 0
        broker.restart()
        async with wire(broker.address) as client:
            assert await client.publish(subject) == 11
            assert await client.subscribe(subject, after_id=0).ids_until(11) == list(range(1, 12))


async def says_elsewhere(client: Wire, subject: str) -> bool:
    """Whether a refusal tells the proxy in front that nothing was done."""
    try:
        await client.publish(subject)
    except grpc.aio.AioRpcError as error:
        return dict(error.trailing_metadata() or ()).get("x-broker-retry") == "elsewhere"
    return False


async def hold_open(client: Wire, broker: BrokerProcess) -> None:
    """Keep the broker from ending: a subscriber has more waiting for it than it reads."""
    await client.subscribed("held")
    async with wire(broker.address) as publisher:
        for _ in range(8):
            await publisher.publish_batch([message("held", bytes(10_000))] * 50)


async def readyz(broker: BrokerProcess) -> int:
    return (await asyncio.to_thread(http, broker, "/readyz"))[0]


async def test_while_it_drains_it_says_so_and_refuses(kind: Kind, tmp_path: Path) -> None:
    with kind.process(tmp_path) as broker:
        async with wire(broker.address, *SMALL_WINDOW) as slow, wire(broker.address) as client:
            watches = [
                client.channel.unary_stream(WATCH)(HealthCheckRequest(service=service).SerializeToString())
                for service in ("", "broker.Broker")
            ]
            status = [HealthCheckResponse.FromString(await watch.read()).status for watch in watches]
            assert status == [HealthCheckResponse.SERVING] * 2
            quiet = await client.subscribed("quiet")
            stream = client.publish_stream()
            await stream.send(message("quiet", b"", 0))
            assert await stream.receive() is not None
            await hold_open(slow, broker)
            assert await readyz(broker) == 200

            broker.terminate()
            status = [HealthCheckResponse.FromString(await watch.read()).status for watch in watches]
            assert status == [HealthCheckResponse.NOT_SERVING] * 2
            assert await quiet.failure() == DRAINING
            assert await stream.failure() == DRAINING
            assert await readyz(broker) == 503
            assert (await asyncio.to_thread(http, broker, "/livez"))[0] == 200


async def test_calls_on_connections_that_stand_are_refused_while_it_drains(kind: Kind, tmp_path: Path) -> None:
    """As many as reach it: then its door is closed."""
    with kind.process(tmp_path) as broker:
        async with wire(broker.address, *SMALL_WINDOW) as slow, wire(broker.address) as client:
            quiet = await client.subscribed("quiet")
            await hold_open(slow, broker)
            broker.terminate()
            assert await quiet.failure() == DRAINING
            for _ in range(20):
                for method in ("Publish", "PublishBatch", "Fetch", "Subscribe", "SubscribeBatch"):
                    failure = await client.failure(method, b"")
                    assert failure.code is grpc.StatusCode.UNAVAILABLE
                    assert failure.reason in ("DRAINING", "")


async def test_it_ends_at_once_when_only_watchers_are_left(kind: Kind, tmp_path: Path) -> None:
    with kind.process(tmp_path) as broker:
        async with wire(broker.address) as client:
            watch = client.channel.unary_stream(WATCH)(b"")
            await watch.read()
            reflection = client.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
            await reflection.write(b"\x3a\x00")
            await reflection.read()
            await client.subscribed("subject")
            broker.terminate()
            # Far below the 25 seconds that those who take longer are given.
            assert await asyncio.to_thread(broker.wait, 10) == 0
            watch.cancel()
            reflection.cancel()


async def test_those_who_do_not_read_are_cut_off_after_the_timeout(kind: Kind, tmp_path: Path) -> None:
    with kind.process(tmp_path, "--drain-timeout=1") as broker:
        async with wire(broker.address, *SMALL_WINDOW) as slow, wire(broker.address) as client:
            await hold_open(slow, broker)
            assert await client.publish("held", expires=HOUR) == 401
            began = time.monotonic()
            broker.terminate()
            assert await asyncio.to_thread(broker.wait, 15) == 0
            assert time.monotonic() - began > 0.5, "the test had no effect: nobody held it open"


async def test_drain_without_anybody(kind: Kind, tmp_path: Path) -> None:
    with kind.process(tmp_path) as broker:
        broker.terminate()
        assert await asyncio.to_thread(broker.wait, 10) == 0

        async def says_so() -> bool:
            return "stopped" in broker.log

        await eventually(says_so, "it says that it stopped")
