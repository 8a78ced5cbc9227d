"""What the client makes of answers that a healthy broker hardly ever gives, from a server that follows a script."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from broker.api import broker_pb2 as pb
from broker.client import Broker, BrokerError, LimitReached, OutcomeUnknown, Unavailable, connect, outbox
from broker.client.publisher import MAX_BYTES, MAX_MESSAGES

UNAVAILABLE, RESOURCE_EXHAUSTED = 14, 8
LONG = 60.0


class Scripted:
    """Answers each message as the script says: an id, a reason, or None to give no more answers on the stream."""

    def __init__(self) -> None:
        self.port = 0
        self.frames: list[list[str]] = []
        """The bodies of each frame that came, in order."""
        self.keys: dict[str, set[bytes]] = {}
        """The keys that came with each body."""
        self.streams = 0
        self.script: Callable[[str, int], int | str | None] = lambda body, attempt: 1
        """Of the body, and of how often it came before."""
        self.answer: Callable[[pb.PublishBatchResponse], bytes] = lambda response: response.SerializeToString()
        self.ending: grpc.StatusCode | None = None
        """Ends the next frame's stream with this, instead of an answer."""
        self.trailers: tuple[tuple[str, bytes], ...] = ()
        """Of that ending."""
        self.accepted: list[str] = []
        """The bodies that were answered with an id, in order."""
        self._attempts: Counter[str] = Counter()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[str]:
        """Of all frames."""
        return [body for frame in self.frames for body in frame]

    async def publish_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.streams += 1
        silent = False
        async for request in requests:
            messages = pb.PublishBatchRequest.FromString(request).messages
            self.frames.append([message.body.decode() for message in messages])
            ending, self.ending = self.ending, None
            if ending is grpc.StatusCode.OK:
                return
            if ending is not None:
                context.set_trailing_metadata(self.trailers)
                await context.abort(ending, "as the script says")
            response = pb.PublishBatchResponse(ids=[0] * len(messages))
            for index, message in enumerate(messages):
                body = message.body.decode()
                self.keys.setdefault(body, set()).add(message.message_key)
                said = self.script(body, self._attempts[body])
                self._attempts[body] += 1
                if said is None:
                    silent = True
                elif isinstance(said, int):
                    response.ids[index] = said
                    self.accepted.append(body)
                else:
                    code = RESOURCE_EXHAUSTED if said.endswith("_FULL") else UNAVAILABLE
                    response.errors.append(pb.PublishError(index=index, code=code, reason=said, message="scripted"))
            if not silent:
                yield self.answer(response)


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as running:
        yield running


@asynccontextmanager
async def scripted() -> AsyncIterator[Scripted]:
    server, scripted = grpc.aio.server(), Scripted()
    handler = grpc.stream_stream_rpc_method_handler(scripted.publish_stream)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("broker.Broker", {"PublishStream": handler}),)
    )
    scripted.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield scripted
    finally:
        await server.stop(0)


async def test_frames_gather_while_one_is_in_flight(server: Scripted) -> None:
    async with connect(server.address, timeout=LONG) as broker:
        assert await asyncio.gather(*(broker.publish("s", b"%d" % number) for number in range(10))) == [1] * 10
    assert server.frames == [["0"], [str(number) for number in range(1, 10)]], "the first opens the stream alone"


async def test_what_lingers_leaves_without_the_subject_in_flight(server: Scripted) -> None:
    server.script = lambda body, attempt: None if body == "slow" else 1
    async with connect(server.address, timeout=LONG) as broker:
        await broker.publish("s", b"opens")
        slow = asyncio.create_task(broker.publish("s", b"slow"))
        await until(lambda: server.bodies[-1] == "slow")
        waiting = [asyncio.create_task(broker.publish(name, name.encode())) for name in ("s", "t", "u")]
        await until(lambda: len(server.frames) == 3)
        assert server.frames[2] == ["t", "u"]
        slow.cancel()
        for task in waiting:
            task.cancel()
        await asyncio.wait([slow, *waiting])


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_store_that_is_away_for_one_subject_holds_up_no_other(server: Scripted, idempotent: bool) -> None:
    server.script = lambda body, attempt: "STORE_UNAVAILABLE" if body.startswith("a") and attempt < 3 else 1
    async with connect(server.address, timeout=LONG, idempotent=idempotent) as broker:
        await broker.publish("opens", b"opens")
        results = await asyncio.gather(
            *(broker.publish(name[0], name.encode()) for name in ("a1", "b1", "a2", "b2", "a3"))
        )
        assert results == [1] * 5
    assert server.frames[1] == ["a1", "a2", "a3", "b1", "b2"]
    assert server.frames[2:] == [["a1", "a2", "a3"]] * 3, "in order, and b was not sent again"
    assert server.streams == 1


async def test_what_is_refused_for_certain_is_what_is_raised_at_the_end(server: Scripted) -> None:
    server.script = lambda body, attempt: "STORE_UNAVAILABLE"
    async with connect(server.address) as broker:
        with pytest.raises(Unavailable) as raised:
            await broker.publish("s", b"x", timeout=0.3)
    assert (type(raised.value), raised.value.reason, raised.value.retriable) == (Unavailable, "STORE_UNAVAILABLE", True)
    assert len(server.frames) > 1


async def test_doubt_is_cleared_by_another_attempt_with_the_same_key(server: Scripted) -> None:
    server.script = lambda body, attempt: "OUTCOME_UNKNOWN" if attempt < 2 else 7
    async with connect(server.address, timeout=LONG) as broker:
        assert await broker.publish("s", b"x") == 7
        assert await broker.publish("s", b"y") == 7
    assert [len(keys) for keys in server.keys.values()] == [1, 1]
    assert server.keys["x"].isdisjoint(server.keys["y"])
    assert {len(key) for keys in server.keys.values() for key in keys} == {16}


async def test_doubt_without_a_key_is_raised_at_once(server: Scripted) -> None:
    server.script = lambda body, attempt: "OUTCOME_UNKNOWN"
    async with connect(server.address, timeout=LONG, idempotent=False) as broker:
        with pytest.raises(OutcomeUnknown):
            await broker.publish("s", b"x")
    assert (server.frames, server.keys) == ([["x"]], {"x": {b""}})


@pytest.mark.parametrize("refusal", ["STORE_UNAVAILABLE", "PUBLISH_QUEUE_FULL"])
async def test_doubt_stays_when_later_attempts_are_refused(server: Scripted, refusal: str) -> None:
    server.script = lambda body, attempt: refusal if attempt else "OUTCOME_UNKNOWN"
    async with connect(server.address) as broker:
        with pytest.raises(OutcomeUnknown):
            await broker.publish("s", b"x", timeout=0.3)
    assert len(server.frames) > 1, "only the server can tell whether it has it"


async def test_a_limit_is_raised_at_once(server: Scripted) -> None:
    server.script = lambda body, attempt: "PUBLISH_QUEUE_FULL"
    async with connect(server.address, timeout=LONG) as broker:
        with pytest.raises(LimitReached) as raised:
            await broker.publish("s", b"x")
    assert raised.value.retriable
    assert server.frames == [["x"]]


@pytest.mark.parametrize(
    "ending", [grpc.StatusCode.OK, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED]
)
async def test_a_stream_that_ends_is_opened_anew(server: Scripted, ending: grpc.StatusCode) -> None:
    async with connect(server.address, timeout=LONG) as broker:
        await broker.publish("s", b"opens")
        server.ending = ending
        assert await broker.publish("s", b"x") == 1
    assert (server.frames[1:], server.streams) == ([["x"], ["x"]], 2)
    assert len(server.keys["x"]) == 1


async def test_it_comes_back_when_the_server_asks_it_to(server: Scripted) -> None:
    status = Status(code=UNAVAILABLE, message="as the script says")
    status.details.add().Pack(ErrorInfo(reason="STORE_UNAVAILABLE", domain="brokercluster.dev"))
    status.details.add().Pack(RetryInfo(retry_delay=Duration(nanos=700_000_000)))
    async with connect(server.address, timeout=LONG) as broker:
        await broker.publish("s", b"opens")
        server.ending = grpc.StatusCode.UNAVAILABLE
        server.trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        began = asyncio.get_running_loop().time()
        assert await broker.publish("s", b"x") == 1
        assert asyncio.get_running_loop().time() - began >= 0.7
    assert server.bodies == ["opens", "x", "x"]


async def test_an_error_that_no_attempt_can_cure_ends_what_is_in_flight(server: Scripted) -> None:
    async with connect(server.address, timeout=LONG) as broker:
        server.ending = grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(BrokerError, match="as the script says"):
            await broker.publish("s", b"x")
        assert await broker.publish("s", b"y") == 1


async def test_a_stream_is_not_used_for_ever(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect(server.address, timeout=LONG) as broker:
        for _ in range(3):
            await broker.publish("s", b"x")
        assert server.streams == 1
        monkeypatch.setattr(outbox, "STREAM_SECONDS", 0)
        for _ in range(3):
            await broker.publish("s", b"x")
        assert server.streams == 4


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_order_is_kept_and_nothing_is_left_behind(server: Scripted, seed: int) -> None:
    """Random answers, losses, timeouts and cancellations: each call ends, in its subject's order; no room is lost."""
    choose = random.Random(seed)
    said = ["STORE_UNAVAILABLE", "OUTCOME_UNKNOWN", "PUBLISH_QUEUE_FULL", *range(1, 10)]
    outcomes: dict[tuple[int, str], int | str | None] = {}
    called: defaultdict[str, list[str]] = defaultdict(list)
    succeeded: set[str] = set()

    def script(body: str, attempt: int) -> int | str | None:
        """The same for all messages of a subject in a frame: a broker commits them together."""
        outcome = None if choose.random() < 0.001 else choose.choice(said)
        return outcomes.setdefault((len(server.frames), body.partition("-")[0]), outcome)

    async def publish(broker: Broker, subject: str, body: str) -> int:
        called[subject].append(body)
        key, timeout = choose.choice([None, body]), choose.choice([0.01, 0.2, 2])
        return await broker.publish(subject, body.encode(), key=key, timeout=timeout)

    async def publisher(broker: Broker, number: int) -> None:
        await asyncio.sleep(choose.random() / 2)
        subject = f"s{choose.randrange(9)}"
        body = f"{subject}-{number}"
        if choose.random() < 0.05:
            server.ending = choose.choice([grpc.StatusCode.OK, grpc.StatusCode.INTERNAL])
        call: Awaitable[int] = publish(broker, subject, body)
        if choose.random() < 0.2:
            call = asyncio.wait_for(call, choose.random() / 10)
        with contextlib.suppress(BrokerError, TimeoutError):
            assert await call in range(1, 10)
            succeeded.add(body)

    server.script = script
    async with connect(server.address, timeout=0.5, idempotent=bool(seed % 2)) as broker:
        await asyncio.gather(*(publisher(broker, number) for number in range(1000)))
        assert succeeded
        place = {body: position for position, body in reversed(list(enumerate(server.accepted)))}  # the first counts
        for calls in called.values():
            places = [place[body] for body in calls if body in succeeded]
            assert places == sorted(places)
        server.script = lambda body, attempt: 1
        server.ending = None
        assert [await broker.publish(f"s{number}", b"", timeout=LONG) for number in range(9)] == [1] * 9
        inside = broker._publisher
        assert list(inside._composer) == list(inside._outbox) == []
        assert (inside._composer.ready, inside._composer._queues) == (0, {})
        room = inside._room
        assert (room._messages, room._bytes, room.waiting) == (MAX_MESSAGES, MAX_BYTES, 0)


@pytest.mark.parametrize("broken", [b"\xff\xff", b""], ids=["no-protobuf", "too-few-ids"])
async def test_an_answer_that_is_none_leaves_doubt(server: Scripted, broken: bytes) -> None:
    answers = iter([broken])
    server.answer = lambda response: next(answers, response.SerializeToString())
    async with connect(server.address, timeout=LONG) as broker:
        assert await broker.publish("s", b"x") == 1
    assert server.frames == [["x"], ["x"]]


async def until(true: Callable[[], bool]) -> None:
    """Look again and again until something holds; pytest's timeout ends a wait in vain."""
    while not true():
        await asyncio.sleep(0.01)
