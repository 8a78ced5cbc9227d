"""Subscribers of every kind. Each notes when its subscription stood, and what it got."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from broker.api import broker_pb2 as pb
from broker.client import EARLIEST, LATEST, BrokerError, Unavailable, after_id
from tests.history.bodies import message_of
from tests.history.doors import TIMEOUT, Door, Doors, failure
from tests.history.events import NOT_OURS, SLOWLY
from tests.history.record import Recorder

_SURE = 1.0
"""Seconds after which a call that has metadata and no error is not one that was refused (those have metadata too)."""


@dataclass
class Audience:
    """What all subscribers share.

    Attributes:
        staying: the listeners that listen to the end.
        over: nobody publishes any more: the slow ones hurry, and those who come and go stay away.
    """

    record: Recorder
    rng: random.Random
    staying: list["Listener"] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Listener:
    """Someone who listens to one subject.

    Args:
        slow: the longest pause after a message, in seconds.
    """

    how = "client"

    def __init__(self, audience: Audience, door: Door, subject: str, slow: float = 0.0) -> None:
        self._audience = audience
        self._record = audience.record
        self._slow = slow
        self._stays = False
        self._number = 0
        self.door = door
        self.subject = subject
        self.last_id = 0
        self.standing = asyncio.Event()

    async def stay(self, start: str) -> None:
        """Listen to the end: ask again until the subscription stands, and when it was lost in a way that must be."""
        self._stays = True
        self._audience.staying.append(self)
        while not self.standing.is_set():
            await self.listen(start)
            await asyncio.sleep(0.1)

    async def listen(self, start: str) -> None:
        """Subscribe from "latest", "earliest" or "after N", and listen until cancelled or until it breaks for good."""
        slowly = f"{SLOWLY} " if self._slow else ""
        self._number = self._record.subscribing(self.subject, start, f"{slowly}{self.how} through {self.door.name}")
        try:
            await self._listen(start)
        except BrokerError as error:
            self._record.ended(self._number, error.reason, left=False)
        except asyncio.CancelledError:
            if not self._stays:
                self._record.ended(self._number, "enough", left=True)
            raise

    async def _listen(self, start: str) -> None:
        last_sign = self._record.now()

        def resumed(cause: BrokerError) -> None:
            # It asked for that after the last thing that it gave out.
            self._record.resumed(self._number, last_sign, cause.reason)

        position = {"latest": LATEST, "earliest": EARLIEST}.get(start) or after_id(int(start.removeprefix("after ")))
        async with self.door.client.subscribe(self.subject, start=position, on_reconnect=resumed) as messages:
            self._stands(None, self._record.now())
            async for message in messages:
                last_sign = self._record.now()
                number = message_of(message.body, message.headers)
                await self._got(message.id, number if message.subject == self.subject else NOT_OURS)

    def _stands(self, position: int | None, at: float) -> None:
        self._record.standing(self._number, position, at)
        self.standing.set()

    async def _got(self, message_id: int, message: int) -> None:
        self._record.delivered(self._number, message_id, message)
        self.last_id = message_id
        if self._slow and not self._audience.over.is_set():
            await asyncio.sleep(self._audience.rng.uniform(0, self._slow))


class WireListener(Listener):
    """One without the client: calls Subscribe, and resumes after its last id as the contract tells clients to do."""

    how = "Subscribe"

    async def _listen(self, start: str) -> None:
        bound = None if start in ("latest", "earliest") else int(start.removeprefix("after "))
        request = pb.SubscribeRequest(subject=self.subject, after_id=bound, earliest=start == "earliest" or None)
        cause = ""
        while True:
            error = await self._connect(request, cause)
            if not self.standing.is_set() or not error.retriable:
                raise error
            if not self.last_id and self.how == "Subscribe" and start == "latest":
                # Where it began was not told, so it cannot go on from there: another one begins.
                self.standing.clear()
                self._record.ended(self._number, error.reason, left=True)
                return
            if self.last_id:
                request = pb.SubscribeRequest(subject=self.subject, after_id=self.last_id)
            cause = error.reason
            await asyncio.sleep(self._audience.rng.uniform(0.02, 0.3))

    async def _connect(self, request: pb.SubscribeRequest, cause: str) -> BrokerError:
        """Listen on one connection, and return how it ended."""
        asked_at = self._record.now()
        call: Any = self.door.wire.channel.unary_stream(f"/broker.Broker/{self.how}")
        call = call(request.SerializeToString())
        reading: asyncio.Task[Any] | None = None
        try:
            async with asyncio.timeout(TIMEOUT):
                await call.initial_metadata()
            stood_at = self._record.now()
            reading = asyncio.create_task(call.read())
            await asyncio.wait([reading], timeout=_SURE)
            told = self._position(await reading) if reading.done() else None
            if cause:
                self._record.resumed(self._number, asked_at, cause)
            else:
                self._stands(told, stood_at)
            while True:
                data = await reading
                if data is grpc.aio.EOF:
                    return Unavailable("STREAM_ENDED", "the stream ended with OK", retriable=False)
                for message in self._messages(data):
                    number = message_of(message.body, message.headers)
                    await self._got(message.id, number if message.subject == self.subject else NOT_OURS)
                reading = asyncio.create_task(call.read())
        except grpc.aio.AioRpcError as error:
            return failure(error, idempotent=True)
        except TimeoutError:
            return Unavailable("NOT_CONNECTED", "no metadata came", retriable=True)
        finally:
            call.cancel()
            if reading is not None:
                reading.cancel()
                await asyncio.wait([reading])

    def _position(self, data: bytes) -> int | None:
        return None

    def _messages(self, data: bytes) -> Sequence[pb.Message]:
        return [pb.Message.FromString(data)]


class BatchListener(WireListener):
    """One that calls SubscribeBatch."""

    how = "SubscribeBatch"

    def _position(self, data: bytes) -> int | None:
        frame = pb.MessageBatch.FromString(data)
        return frame.position if frame.HasField("position") else None

    def _messages(self, data: bytes) -> Sequence[pb.Message]:
        return pb.MessageBatch.FromString(data).messages


LISTENERS: Sequence[type[Listener]] = (Listener, WireListener, BatchListener)


async def come_and_go(audience: Audience, doors: Doors, subjects: Sequence[str]) -> None:
    """Listen here and there for a few seconds: from now on, from the beginning, or from where it had stopped."""
    reached: dict[str, int] = {}
    while not audience.over.is_set():
        subject = audience.rng.choice(subjects)
        start = audience.rng.choice(["latest", "earliest", f"after {reached.get(subject, 0)}"])
        listener = audience.rng.choice(LISTENERS)(audience, doors.any(audience.rng), subject)
        with suppress(TimeoutError):
            async with asyncio.timeout(audience.rng.uniform(0.5, 6)):
                await listener.listen(start)
        reached[subject] = max(reached.get(subject, 0), listener.last_id)
        await asyncio.sleep(audience.rng.uniform(0, 0.5))
