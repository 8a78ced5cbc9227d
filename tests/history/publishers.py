"""Publishers of every kind. Each publishes until it is told to stop, and notes what became of every message."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from broker.api import broker_pb2 as pb
from broker.client import BrokerError, NewMessage
from broker.client.errors import build
from tests.history.bodies import body, headers
from tests.history.doors import TIMEOUT, Door, Doors, failure, nothing_stored
from tests.history.record import Recorder

_AT_ONCE = 24
"""Calls under way of one publisher that does not wait."""
_FRAMES_AHEAD = 4
_ATTEMPTS = 6
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class Load:
    """What all publishers share.

    Attributes:
        pace: messages a second of each publisher.
        lives: for each subject, the expiries of its messages, one of them for each by chance.
        acknowledged: (subject, id) of the latest that were, for those who fetch.
    """

    record: Recorder
    rng: random.Random
    pace: float
    lives: dict[str, Sequence[int]]
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    acknowledged: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=2000))

    async def moments(self, messages: int = 1) -> AsyncIterator[None]:
        """Yield whenever so many messages are due, until it is over."""
        while not self.stop.is_set():
            yield
            with suppress(TimeoutError):
                async with asyncio.timeout(self.rng.expovariate(self.pace / messages)):
                    await self.stop.wait()


class Draft:
    """A message on its way."""

    def __init__(self, load: Load, publisher: str, subject: str, *, keyed: bool = False) -> None:
        self._record = load.record
        self._load = load
        self._publisher = publisher
        self.subject = subject
        self.number = load.record.number()
        self.expires = load.rng.choice(load.lives[subject])
        self.key = f"key-{self.number}" if keyed else ""
        self.op = 0

    def begin(self) -> None:
        """Note an attempt."""
        self.op = self._record.publishing(self.number, self._publisher, self.subject, self.expires, self.key)

    def acknowledged(self, message_id: int, duplicate: bool | None) -> None:
        self._record.acknowledged(self.op, message_id, duplicate)
        self._load.acknowledged.append((self.subject, message_id))

    def failed(self, error: BrokerError) -> None:
        if nothing_stored(error):
            self._record.refused(self.op, error.reason)
        else:
            self._record.unknown(self.op, error.reason)

    def lost(self) -> None:
        """The connection ended before an answer came."""
        self._record.unknown(self.op, "STREAM_LOST")

    @property
    def request(self) -> pb.PublishRequest:
        return pb.PublishRequest(
            subject=self.subject,
            body=body(self.number),
            expirationSeconds=self.expires,
            message_key=self.key.encode(),
            headers=headers(self.number),
        )


async def publish(door: Door, draft: Draft) -> bool:
    """Publish through the client; whether it was acknowledged."""
    draft.begin()
    try:
        message_id = await door.client.publish(
            draft.subject,
            body(draft.number),
            expires=draft.expires,
            key=draft.key or None,
            headers=headers(draft.number),
        )
    except BrokerError as error:
        draft.failed(error)
        return False
    draft.acknowledged(message_id, message_id.duplicate if draft.key else None)
    return True


async def one_by_one(load: Load, doors: Doors, number: int, name: str, subjects: Sequence[str]) -> None:
    """Wait for each answer before the next call."""
    async for _ in load.moments():
        await publish(doors.nth(number), Draft(load, name, load.rng.choice(subjects)))


async def all_at_once(load: Load, doors: Doors, number: int, name: str, subjects: Sequence[str]) -> None:
    """Call without waiting for answers; the client puts what comes together into frames."""
    async with asyncio.TaskGroup() as group:
        room = asyncio.Semaphore(_AT_ONCE)
        async for _ in load.moments(8):
            for _ in range(load.rng.randint(1, 15)):
                await room.acquire()
                task = group.create_task(publish(doors.nth(number), Draft(load, name, load.rng.choice(subjects))))
                task.add_done_callback(lambda _: room.release())


async def many(load: Load, doors: Doors, number: int, name: str, subjects: Sequence[str]) -> None:
    """Hand lists of messages to the client."""
    async for _ in load.moments(10):
        drafts = [Draft(load, name, load.rng.choice(subjects)) for _ in range(load.rng.randint(1, 19))]
        for draft in drafts:
            draft.begin()
        results = await doors.nth(number).client.publish_many(
            [
                NewMessage(draft.subject, body(draft.number), draft.expires, None, headers(draft.number))
                for draft in drafts
            ]
        )
        for draft, result in zip(drafts, results, strict=True):
            if isinstance(result, BrokerError):
                draft.failed(result)
            else:
                draft.acknowledged(result, None)


async def with_keys(load: Load, doors: Doors, _number: int, name: str, subjects: Sequence[str]) -> None:
    """Call without the client, through any door, again until it is acknowledged, and sometimes once more."""
    async for _ in load.moments():
        draft = Draft(load, name, load.rng.choice(subjects), keyed=True)
        for _ in range(_ATTEMPTS):
            if await call(doors.any(load.rng), draft):
                break
            await asyncio.sleep(load.rng.uniform(0, 0.5))
        if load.rng.random() < 0.2:
            await call(doors.any(load.rng), draft)


async def call(door: Door, draft: Draft) -> bool:
    """Publish by a call of Publish; whether it was acknowledged."""
    draft.begin()
    try:
        data = await door.wire.raw("Publish", draft.request.SerializeToString())
    except grpc.aio.AioRpcError as error:
        draft.failed(failure(error))
        return False
    response = pb.PublishResponse.FromString(data)
    draft.acknowledged(response.id, response.duplicate)
    return True


async def in_batches(load: Load, doors: Doors, number: int, name: str, subjects: Sequence[str]) -> None:
    """Call PublishBatch without the client."""
    async for _ in load.moments(10):
        drafts = [Draft(load, name, load.rng.choice(subjects)) for _ in range(load.rng.randint(1, 19))]
        for draft in drafts:
            draft.begin()
        request = pb.PublishBatchRequest(messages=[draft.request for draft in drafts])
        try:
            data = await doors.nth(number).wire.raw("PublishBatch", request.SerializeToString())
        except grpc.aio.AioRpcError as error:
            for draft in drafts:
                draft.failed(failure(error))
        else:
            _settle(drafts, pb.PublishBatchResponse.FromString(data))


async def in_a_stream(load: Load, doors: Doors, number: int, name: str, subjects: Sequence[str]) -> None:
    """Send frames on a PublishStream, some ahead of their answers; open another when it is lost."""
    while not load.stop.is_set():
        await _stream(load, doors.nth(number), name, subjects)
        await asyncio.sleep(load.rng.uniform(0.05, 0.3))


async def _stream(load: Load, door: Door, name: str, subjects: Sequence[str]) -> None:
    call: Any = door.wire.channel.stream_stream("/broker.Broker/PublishStream")
    call = call()
    sent: deque[list[Draft]] = deque()
    room = asyncio.Semaphore(_FRAMES_AHEAD)

    async def receive() -> None:
        try:
            while (data := await call.read()) is not grpc.aio.EOF:
                _settle(sent.popleft(), pb.PublishBatchResponse.FromString(data))
                room.release()
        finally:
            room.release()

    receiving = asyncio.create_task(receive())
    try:
        async for _ in load.moments(10):
            async with asyncio.timeout(TIMEOUT):
                await room.acquire()
            if receiving.done():
                break
            drafts = [Draft(load, name, load.rng.choice(subjects)) for _ in range(load.rng.randint(1, 19))]
            for draft in drafts:
                draft.begin()
            sent.append(drafts)
            frame = pb.PublishBatchRequest(messages=[draft.request for draft in drafts])
            await call.write(frame.SerializeToString())
        await call.done_writing()
        async with asyncio.timeout(TIMEOUT):
            await receiving
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
        call.cancel()
    finally:
        receiving.cancel()
        await asyncio.wait([receiving])
        for drafts in sent:
            for draft in drafts:
                draft.lost()


def _settle(drafts: list[Draft], response: pb.PublishBatchResponse) -> None:
    refused = {error.index: error for error in response.errors}
    for index, (draft, message_id) in enumerate(zip(drafts, response.ids, strict=True)):
        if index in refused:
            error = refused[index]
            draft.failed(build(_CODES[error.code], error.reason, error.message))
        else:
            draft.acknowledged(message_id, index in response.duplicates)


Publish = Callable[[Load, Doors, int, str, Sequence[str]], Coroutine[Any, Any, None]]

KINDS: list[tuple[Publish, bool]] = [
    (one_by_one, True),
    (all_at_once, True),
    (with_keys, True),
    (in_batches, True),
    (in_a_stream, True),
    (many, True),
    (one_by_one, True),
    (all_at_once, True),
    (with_keys, True),
    (one_by_one, True),
]
"""The publishers of a load, and whether each promises that ids rise in the order of its calls."""
