"""A store that is full or fails: refused exactly, everything else goes on, and it recovers by itself."""

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.support.broker import BrokerProcess
from tests.support.brokers import KINDS, Kind, eventually, http, metric
from tests.support.wire import HOUR, Failure, Wire, message, wire

BODY = bytes(50_000)
FULL = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", "brokercluster.dev")
AWAY = Failure(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "brokercluster.dev")


@pytest.fixture(params=[kind for kind in KINDS if kind.embedded], ids=str, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """Stores whose files a test can harm; tests/integration/server does it to a database server."""
    found: Kind = request.param
    return found


async def fill(client: Wire, subject: str, expires: int = HOUR) -> tuple[int, Failure]:
    """Publish until refused: the last id, and why."""
    last_id = 0
    for _ in range(2000):
        try:
            last_id = await client.publish(subject, BODY, expires)
        except grpc.aio.AioRpcError as error:
            return last_id, Failure.of(error)
    raise AssertionError("the store is never full")


async def goes_on(client: Wire, subject: str, last_id: int, *, transient: bool) -> None:
    """What needs no room works: fetches, replays, and where the store can still count, fire-and-forget."""
    assert (await client.fetch(subject, last_id)).body == BODY
    assert (await client.fetch(subject, 1)).body == BODY
    replay = client.subscribe(subject, batch=True, earliest=True)
    assert await replay.ids_until(last_id) == list(range(1, last_id + 1))
    if transient:
        assert await client.publish(subject, b"live", expires=0) == last_id + 1
        got = await replay.next()
        assert (got.id, got.body) == (last_id + 1, b"live")
    replay.cancel()


async def refused_in_all_ways(client: Wire, subject: str, expected: Failure) -> None:
    """Unary, in a batch and on a stream."""
    assert await client.failure("Publish", message(subject, BODY)) == expected
    stream = client.publish_stream()
    await stream.send(message(subject, BODY), message(""))
    for answer in (await client.publish_batch([message(subject, BODY), message("")]), await stream.receive()):
        assert answer is not None
        assert list(answer.ids) == [0, 0]
        assert [error.reason for error in answer.errors] == [expected.reason, "SUBJECT_INVALID"]
        assert answer.errors[0].code == expected.code.value[0]
    await stream.close()
    assert await stream.receive() is None


async def takes_again(client: Wire, subject: str) -> bool:
    try:
        await client.publish(subject, BODY)
    except grpc.aio.AioRpcError:
        return False
    return True


@pytest.fixture
def options(kind: Kind) -> list[str]:
    """A store with room for 4 MB or a little more."""
    return ["--memory-limit=4M"] if kind.store == "memory" else ["--sqlite-limit=4M"]


async def test_a_full_store_refuses_and_recovers_when_messages_expire(
    kind: Kind, tmp_path: Path, options: list[str], subject: str
) -> None:
    with kind.process(tmp_path, *options, "--cache-bytes=0") as broker:
        async with wire(broker.address) as client:
            kept, expiring = subject, subject + "-expiring"
            assert [await client.publish(kept, BODY) for _ in range(3)] == [1, 2, 3]
            last_id, failure = await fill(client, expiring, expires=2)
            assert failure == FULL
            assert failure.retry_after == 1
            assert failure.metadata["limit"] == ("memory" if kind.store == "memory" else "disk")
            assert last_id > 10
            await refused_in_all_ways(client, kept, FULL)
            await goes_on(client, kept, 3, transient=True)
            refused = await metric(broker, "broker_messages_refused_total{reason=STORE_FULL}")
            assert refused == 4
            assert (await _http(broker, "/readyz"))[0] == 200, "a full store still serves"

            async def room() -> bool:
                return await takes_again(client, expiring)

            await eventually(room, "it takes messages again")

            async def all_expired() -> bool:
                return await metric(broker, "broker_messages_expired_total") >= last_id

            await eventually(all_expired, "everything that was due is deleted")
            assert await client.publish(kept, BODY) == 5
            assert await client.publish(expiring, b"") == last_id + 2, "a refused message takes no id"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this user cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


async def test_a_full_disk_refuses_and_recovers_when_there_is_room(kind: Kind, small_disk: Path, subject: str) -> None:
    if not kind.durable:
        pytest.skip("a memory store has no disk")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    with kind.process(small_disk, "--cache-bytes=0") as broker:
        async with wire(broker.address) as client:
            last_id, failure = await fill(client, subject)
            assert failure == FULL
            await refused_in_all_ways(client, subject, FULL)
            await goes_on(client, subject, last_id, transient=True)
            ballast.unlink()
            assert await client.publish(subject, BODY) == last_id + 2
            broker.kill()
            broker.restart()
        async with wire(broker.address) as client:
            ids = await client.subscribe(subject, earliest=True).ids_until(last_id + 2)
            assert ids == [*range(1, last_id + 1), last_id + 2]


async def test_a_disk_that_fails_makes_the_store_unavailable_until_it_works(
    kind: Kind, tmp_path: Path, subject: str
) -> None:
    """The kernel refuses to let files grow, which SQLite takes for a broken disk."""
    if not kind.durable:
        pytest.skip("a memory store has no disk")
    with kind.process(tmp_path, "--cache-bytes=0") as broker:
        async with wire(broker.address) as client:
            live = await client.subscribed(subject)
            assert [await client.publish(subject, BODY) for _ in range(3)] == [1, 2, 3]
            unlimited = resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
            last_id, failure = await fill(client, subject)
            assert failure == AWAY
            assert failure.retry_after == 0.25
            await refused_in_all_ways(client, subject, AWAY)
            last_id = max(last_id, 3)
            await goes_on(client, subject, last_id, transient=False)
            # Messages, not commits: those of the batch and of the stream may share one.
            assert await metric(broker, "broker_messages_refused_total{reason=STORE_UNAVAILABLE}") >= 4
            assert await metric(broker, "broker_store_errors_total{operation=append,reason=STORE_UNAVAILABLE}") > 0
            assert (await _http(broker, "/livez"))[0] == 200

            resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, unlimited)
            assert await client.publish(subject, BODY) == last_id + 1, "what was refused takes no id"
            assert await live.ids_until(last_id + 1) == list(range(1, last_id + 2))
            broker.kill()
            broker.restart()
        async with wire(broker.address) as client:
            ids = await client.subscribe(subject, earliest=True).ids_until(last_id + 1)
            assert ids == list(range(1, last_id + 2))


@pytest.mark.parametrize("limit", ["max-queue-messages", "max-queue-bytes"])
async def test_what_waits_for_the_store_is_bounded(kind: Kind, tmp_path: Path, subject: str, limit: str) -> None:
    if not kind.durable:
        pytest.skip("a memory store lets nobody wait")
    value = {"max-queue-messages": 50, "max-queue-bytes": 50_000}[limit]
    full = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "PUBLISH_QUEUE_FULL", "brokercluster.dev")
    body = bytes(1000)
    with kind.process(tmp_path, f"--{limit}={value}", "--max-body=10k") as broker:
        async with wire(broker.address) as client:
            live = await client.subscribed(subject)
            async with kind.busy(tmp_path):
                waiting = [asyncio.create_task(client.publish(subject, body)) for _ in range(20)]
                waiting.append(asyncio.create_task(client.publish_batch([message(subject, body)] * 30)))

                async def all_wait() -> bool:
                    return await metric(broker, "broker_queue_messages") == 50

                await eventually(all_wait, "50 messages wait for the store")
                failure = await client.failure("Publish", message(subject, body))
                assert failure == full
                assert failure.retry_after == 0.1
                assert failure.metadata == {"limit": limit, "value": str(value)}
                answer = await client.publish_batch([message("", body), message(subject, body)])
                assert list(answer.ids) == [0, 0]
                assert [(error.index, error.reason) for error in answer.errors] == [
                    (0, "SUBJECT_INVALID"),
                    (1, "PUBLISH_QUEUE_FULL"),
                ]
                stream = client.publish_stream()
                await stream.send(message(subject, body))
                streamed = await stream.receive()
                assert streamed is not None
                assert [error.reason for error in streamed.errors] == ["PUBLISH_QUEUE_FULL"]
                assert await metric(broker, "broker_queue_bytes") == 50_000
            await asyncio.gather(*waiting)
            assert await live.ids_until(50) == list(range(1, 51)), "what waited is stored, what was refused took no id"
            assert await client.publish(subject) == 51


async def test_a_frame_that_is_larger_than_the_queue(kind: Kind, tmp_path: Path, subject: str) -> None:
    """It is published when nothing else waits: to try again must help."""
    with kind.process(tmp_path, "--max-queue-messages=50", "--max-queue-bytes=1Mi", "--max-body=1Mi") as broker:
        async with wire(broker.address) as client:
            assert list((await client.publish_batch([message(subject)] * 100)).ids) == list(range(1, 101))
            assert not (await client.publish_batch([message(subject, bytes(400_000))] * 5)).errors


async def _http(broker: BrokerProcess, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(http, broker, path)
