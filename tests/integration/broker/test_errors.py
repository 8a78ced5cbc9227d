"""Every error a client can cause, in every form of call: exact code, reason and metadata, and nothing else fails."""

import asyncio
import random
from collections.abc import Iterator

import grpc
import pytest

from broker.api import broker_pb2 as pb
from tests.support.broker import BrokerProcess
from tests.support.brokers import Kind, metric
from tests.support.wire import Failure, Wire, frame, message

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
DOMAIN = "brokercluster.dev"
MAX_BODY = 64 << 10
MAX_BATCH = 10_000
MAX_HEADERS = 8 << 10

BAD_SUBJECTS = {
    "empty": "",
    "256 bytes": "s" * 256,
    "256 bytes in 128 characters": "é" * 128,
    "256 bytes in 64 characters": "😀" * 64,
    "megabyte": "s" * (1 << 20),
    "nul": "a\0b",
    "newline": "a\n",
    "tab": "\ta",
    "escape": "\x1b[2J",
    "delete": "\x7f",
    "C1": "a\x85b",
}
GOOD_SUBJECTS = [
    "s" * 255,
    "é" * 127 + "e",
    "😀" * 63 + "abc",
    " ",
    "a/b",
    "*",
    "..",
    "\u2028",
    "\ufeff",
    "'; DROP TABLE subjects",
]

BAD_MESSAGES = {
    **{f"subject {name}": (message(subject), "SUBJECT_INVALID", "subject") for name, subject in BAD_SUBJECTS.items()},
    "negative": (message("s", b"", -1), "EXPIRATION_NEGATIVE", "expirationSeconds"),
    "most negative": (message("s", b"", -(2**31)), "EXPIRATION_NEGATIVE", "expirationSeconds"),
    "too long": (message("s", b"", 604_801), "EXPIRATION_TOO_LONG", "expirationSeconds"),
    "longest": (message("s", b"", 2**31 - 1), "EXPIRATION_TOO_LONG", "expirationSeconds"),
    "body one over": (message("s", bytes(MAX_BODY + 1)), "BODY_TOO_LARGE", "body"),
    "body far over": (message("s", bytes(1 << 20)), "BODY_TOO_LARGE", "body"),
    "key one over": (message("s", key=bytes(256)), "MESSAGE_KEY_TOO_LONG", "message_key"),
    "key far over": (message("s", key=bytes(1 << 20)), "MESSAGE_KEY_TOO_LONG", "message_key"),
    "headers one over": (message("s", headers={"é": bytes(MAX_HEADERS - 1)}), "HEADERS_TOO_LARGE", "headers"),
    "many headers": (message("s", headers={str(n): b"" for n in range(5000)}), "HEADERS_TOO_LARGE", "headers"),
}

GARBAGE = {
    "ones": b"\xff" * 20,
    "cut short": message("subject").SerializeToString()[:5],
    "endless varint": b"\x18" + b"\xff" * 30,
    "text not UTF-8": b"\x0a\x02\xff\xfe",
    "overlong UTF-8": b"\x0a\x02\xc0\x80",
    "surrogate": b"\x0a\x03\xed\xa0\x80",
    "group without end": b"\x0b" * 200,
    "length beyond the end": b"\x0a\xff\xff\xff\xff\x07",
}


@pytest.fixture(scope="module")
def broker(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with kind.process(tmp_path_factory.mktemp("data"), f"--max-body={MAX_BODY}") as process:
        yield process
        assert "Traceback" not in process.log


def refused(reason: str, code: grpc.StatusCode = INVALID) -> Failure:
    return Failure(code, reason, DOMAIN)


@pytest.mark.parametrize("case", BAD_MESSAGES)
async def test_a_bad_message(client: Wire, subject: str, case: str) -> None:
    bad, reason, field = BAD_MESSAGES[case]
    failure = await client.failure("Publish", bad)
    assert failure == refused(reason)
    assert failure.metadata["field"] == field
    assert failure.message

    neighbours = [message(subject, b"before"), bad, message(subject, b"between"), bad, message(subject, b"after")]
    stream = client.publish_stream()
    await stream.send(*neighbours)
    for first, answer in ((1, await stream.receive()), (4, await client.publish_batch(neighbours))):
        assert answer is not None
        assert list(answer.ids) == [first, 0, first + 1, 0, first + 2]
        expected = [(1, INVALID.value[0], reason), (3, INVALID.value[0], reason)]
        assert [(error.index, error.code, error.reason) for error in answer.errors] == expected
        assert {error.message for error in answer.errors} == {failure.message}
    await stream.close()
    assert await stream.receive() is None
    assert (await client.fetch(subject, 6)).body == b"after"


@pytest.mark.parametrize("case", BAD_SUBJECTS)
async def test_a_bad_subject_of_other_calls(client: Wire, case: str) -> None:
    bad = BAD_SUBJECTS[case]
    for method in ("Subscribe", "SubscribeBatch"):
        assert await client.failure(method, pb.SubscribeRequest(subject=bad)) == refused("SUBJECT_INVALID")
    assert await client.failure("Fetch", pb.FetchRequest(subject=bad, id=1)) == refused("SUBJECT_INVALID")


@pytest.mark.parametrize("name", GOOD_SUBJECTS)
async def test_a_good_subject(client: Wire, name: str) -> None:
    subscription = await client.subscribed(name)
    message_id = await client.publish(name, b"body")
    assert (await subscription.next()).subject == name
    assert (await client.fetch(name, message_id)).subject == name
    subscription.cancel()


async def test_a_body_at_the_limit(client: Wire, subject: str) -> None:
    body = random.Random(1).randbytes(MAX_BODY)
    assert await client.publish(subject, body) == 1
    assert (await client.fetch(subject, 1)).body == body
    assert list((await client.publish_batch([message(subject, body)] * 40)).ids) == list(range(2, 42))


async def test_a_key_and_headers_at_the_limit(client: Wire, subject: str) -> None:
    headers = {"é": bytes(MAX_HEADERS - 3), "x": b""}
    full = message(subject, b"body", key=b"k" * 255, headers=headers)
    assert list((await client.publish_batch([full, message(subject, headers=headers)])).ids) == [1, 2]
    assert (await client.fetch(subject, 1)).headers == headers


def too_large(kind: Kind) -> Failure:
    """grpc.aio refuses by itself what is larger than it was told, without a reason."""
    return Failure(EXHAUSTED) if kind.door == "grpcio" else refused("REQUEST_TOO_LARGE")


async def test_a_request_that_is_larger_than_any_message_may_be(kind: Kind, client: Wire, subject: str) -> None:
    huge = message(subject, bytes(8 << 20)).SerializeToString()
    for method in ("Publish", "PublishBatch", "Subscribe", "Fetch"):
        assert await client.failure(method, huge) == too_large(kind)
    stream = client.publish_stream()
    await stream.send(message(subject, b"before"))
    assert await stream.receive() is not None
    await stream.send_bytes(huge)
    assert await stream.failure() == too_large(kind)
    assert await client.publish(subject) == 2


async def test_a_bomb_of_compression(kind: Kind, client: Wire, subject: str) -> None:
    bomb = message(subject, bytes(64 << 20)).SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.raw("Publish", bomb, compression=grpc.Compression.Gzip)
    assert Failure.of(raised.value) == too_large(kind)
    small = message(subject, bytes(1000)).SerializeToString()
    await client.raw("Publish", small, compression=grpc.Compression.Gzip)


@pytest.mark.parametrize("case", GARBAGE)
async def test_garbage_in_place_of_a_request(client: Wire, subject: str, case: str) -> None:
    garbage = GARBAGE[case]
    for method in ("Publish", "Fetch", "PublishBatch", "Subscribe", "SubscribeBatch"):
        failure = await client.failure(method, garbage)
        assert failure == refused("REQUEST_MALFORMED"), method
        assert failure.metadata["message"].startswith("broker.")


@pytest.mark.parametrize("case", GARBAGE)
async def test_garbage_on_a_stream_ends_it_after_everything_before_is_answered(
    client: Wire, subject: str, case: str
) -> None:
    stream = client.publish_stream()
    for number in range(5):
        await stream.send(message(subject, b"%d" % number))
    await stream.send_bytes(GARBAGE[case])
    answers = [await stream.receive() for _ in range(5)]
    assert [list(answer.ids) for answer in answers if answer] == [[1], [2], [3], [4], [5]]
    assert await stream.failure() == refused("REQUEST_MALFORMED")
    assert await client.publish(subject) == 6


async def test_random_bytes_never_break_the_server(client: Wire, broker: BrokerProcess) -> None:
    chance = random.Random(7)
    valid = [message("random", b"body", 5).SerializeToString(), frame([message("random"), message("s", b"x")])]
    paths = ["Publish", "Fetch", "PublishBatch", "/grpc.health.v1.Health/Check"]
    allowed = {INVALID, grpc.StatusCode.NOT_FOUND}

    async def one() -> None:
        data = bytearray(chance.choice([*valid, chance.randbytes(chance.randrange(40))]))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data) + 1) :] = chance.randbytes(3)
        try:
            await client.raw(chance.choice(paths), bytes(data))
        except grpc.aio.AioRpcError as error:
            assert error.code() in allowed

    for _ in range(20):
        await asyncio.gather(*[one() for _ in range(20)])


async def test_too_many_messages_in_a_frame(client: Wire, subject: str) -> None:
    most = [message(subject, b"", 0)] * MAX_BATCH
    failure = await client.failure("PublishBatch", frame([*most, most[0]]))
    assert failure == refused("BATCH_TOO_LARGE")
    assert failure.metadata == {"field": "messages", "limit": str(MAX_BATCH)}
    stream = client.publish_stream()
    await stream.send(most[0])
    await stream.send(*most, most[0])
    first = await stream.receive()
    assert first is not None
    assert list(first.ids) == [1]
    assert await stream.failure() == refused("BATCH_TOO_LARGE")
    assert len((await client.publish_batch(most)).ids) == MAX_BATCH


async def test_empty_frames_are_answered_by_empty_frames(client: Wire) -> None:
    assert await client.raw("PublishBatch", b"") == b""
    stream = client.publish_stream()
    for _ in range(3):
        await stream.send()
    assert [await stream.receive() for _ in range(3)] == [pb.PublishBatchResponse()] * 3
    await stream.close()
    assert await stream.receive() is None


@pytest.mark.parametrize("message_id", [0, 2, 3, -1, 2**40, 2**40 + 1, 2**63 - 1, -(2**63)])
async def test_messages_that_cannot_be_fetched(client: Wire, subject: str, message_id: int) -> None:
    assert await client.publish(subject, b"stored") == 1
    assert await client.publish(subject, b"transient", expires=0) == 2
    for name in (subject, subject + "-unknown"):
        failure = await client.failure("Fetch", pb.FetchRequest(subject=name, id=message_id))
        assert failure == refused("MESSAGE_NOT_FOUND")
        assert failure.metadata == {"field": "id"}


@pytest.mark.parametrize("batch", [False, True])
async def test_starts_that_make_no_sense(client: Wire, subject: str, batch: bool) -> None:
    await client.publish(subject)
    method = "SubscribeBatch" if batch else "Subscribe"
    for after_id in (-1, -(2**63)):
        request = pb.SubscribeRequest(subject=subject, after_id=after_id)
        assert await client.failure(method, request) == refused("START_INVALID")
    for seconds, nanos in ((0, -1), (0, 10**9), (2**63 - 1, 0), (-(2**63), 0)):
        request = pb.SubscribeRequest(subject=subject)
        request.since.seconds, request.since.nanos = seconds, nanos
        assert await client.failure(method, request) == refused("START_INVALID")
    for after_id in (2, 2**63 - 1):
        failure = await client.failure(method, pb.SubscribeRequest(subject=subject, after_id=after_id))
        assert failure == refused("START_BEYOND_END")
        assert failure.metadata == {"field": "after_id", "last_id": "1"}


async def test_unknown_methods(client: Wire) -> None:
    for path in ("/broker.Broker/Delete", "/broker.broker/Publish", "/other.Service/Call", "/x"):
        assert (await client.failure(path, b"")).code is grpc.StatusCode.UNIMPLEMENTED


async def test_errors_are_counted(client: Wire, broker: BrokerProcess) -> None:
    series = (
        "broker_calls_total{code=INVALID_ARGUMENT,method=Publish}",
        "broker_messages_refused_total{reason=SUBJECT_INVALID}",
    )
    before = [await metric(broker, name) for name in series]
    await client.failure("Publish", message(""))
    await client.publish_batch([message(""), message("")])
    assert [await metric(broker, name) for name in series] == [before[0] + 1, before[1] + 3]
