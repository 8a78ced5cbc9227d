"""When frames leave, and over which stream."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator

import grpc

from broker.backoff import Backoff
from broker.client.answers import Answers
from broker.client.calls import Channel
from broker.client.composer import FRAME_BYTES, Composer, Frame
from broker.client.errors import BrokerError, OutcomeUnknown, Unavailable, from_rpc
from broker.client.room import Room
from broker.client.stream import FrameStream

logger = logging.getLogger(__name__)

LINGER = 0.005
"""Seconds that messages wait at most for more of them, while a frame is in flight. Between 2 and 10 ms no difference
can be measured: answers mostly come sooner."""

STREAM_SECONDS = 5.0
"""How long a stream is used; after that it gets no more frames, and when all are answered another is opened. So
publishers leave a load balancer that drains: it lets streams live, but gets no new ones. And they spread over load
balancers and brokers that came meanwhile."""

MAX_FRAMES = 8
"""Frames in flight; servers take 16."""


class Outbox:
    """Sends frames over one PublishStream, which it opens when it is needed.

    A frame leaves at once when none is in flight. Otherwise messages gather until the answers have come, until there
    are enough for a full frame, or for `LINGER`: frames that leave at each answer would stay small. The first frame of
    a stream holds one message: a proxy that limits rates sees no other, and its refusal is then the error of nobody
    else.

    Args:
        channel: to the server.
        composer: makes the frames.
        room: gets back what messages took of it, as they are answered.
        patience: the seconds after which a stream that leaves a frame unanswered is given up. What has a key is then
            sent again, by a load balancer to another broker.
    """

    def __init__(self, channel: Channel, composer: Composer, room: Room, patience: float) -> None:
        self._channel = channel
        self._composer = composer
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self.answers = Answers(channel, composer, room, self.wake)
        self._backoff = Backoff(first=0.05, longest=1.0)
        self._stream: FrameStream | None = None
        self._opened_at = 0.0
        self._opening = False
        """Whether the stream has not answered its first frame yet."""
        self._in_flight: deque[Frame] = deque()
        """On the stream, the oldest first."""
        self._alone: dict[Frame, asyncio.Task[None]] = {}
        """Of a message so large that the server may refuse the whole stream for it; so it has a call of its own."""
        self._connecting: asyncio.Task[None] | None = None
        self._pump: asyncio.Handle | None = None
        self._rest: asyncio.TimerHandle | None = None
        """Until the next attempt to open a stream."""
        self._linger: asyncio.TimerHandle | None = None
        self._lingered = False
        """Whether what waits has waited for `LINGER`."""
        self._stall: asyncio.TimerHandle | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames in flight."""
        yield from self._in_flight
        yield from self._alone

    def wake(self) -> None:
        """Look in the next turn of the event loop for what may leave; what comes in this one goes with it."""
        if self._pump is None:
            self._pump = self._loop.call_soon(self._send_due)

    async def close(self) -> None:
        """End the calls; nothing more is sent."""
        self._closed = True
        for handle in (self._pump, self._rest, self._linger, self._stall):
            if handle is not None:
                handle.cancel()
        tasks = list(self._alone.values())
        if self._connecting is not None:
            tasks.append(self._connecting)
        for task in tasks:
            task.cancel()
        if self._stream is not None:
            self._stream.cancel()
            await self._stream.closed()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send_due(self) -> None:
        self._pump = None
        while frame := self._next():
            frame.sent_at = self._loop.time()
            for message in frame.messages:
                message.in_flight = True
            if len(frame.messages) == 1 and len(frame.messages[0].part) > FRAME_BYTES:
                self._alone[frame] = asyncio.create_task(self._call(frame))
            elif self._stream is not None:
                self._in_flight.append(frame)
                self._stream.send(frame.encode())
                self._stall = self._stall or self._loop.call_later(self._patience, self._look_for_stall)
        if not self._composer.ready:
            self._lingered = False
            if self._linger is not None:
                self._linger.cancel()
                self._linger = None

    def _next(self) -> Frame | None:
        composer = self._composer
        in_flight = len(self._in_flight) + len(self._alone)
        if not composer.ready or in_flight >= MAX_FRAMES or self._closed or not self._is_open():
            return None
        if self._opening:
            return None if self._in_flight else composer.compose(1)
        if in_flight and not self._lingered and not composer.has_full_frame:
            self._linger = self._linger or self._loop.call_later(LINGER, self._linger_over)
            return None
        return composer.compose()

    def _linger_over(self) -> None:
        self._linger = None
        self._lingered = True
        self._send_due()

    def _is_open(self) -> bool:
        """Whether there is a stream; begins one if it can."""
        if self._stream is not None:
            if self._loop.time() < self._opened_at + STREAM_SECONDS:
                return True
            if self._in_flight:
                return False
            self._stream.cancel()
            self._stream = None
        if self._rest is not None or self._connecting is not None:
            return False
        if self._channel.wait_for_ready and not self._channel.connected:
            self._connecting = asyncio.create_task(self._connect())
            return False
        # Never left to gRPC to send later: until there is a connection, messages wait here and may be dropped.
        call = self._channel.publish_stream(wait_for_ready=False, metadata=self._channel.metadata())
        self._stream = FrameStream(call, self._answered, self._ended)
        self._opened_at = self._loop.time()
        self._opening = True
        return True

    async def _connect(self) -> None:
        await self._channel.grpc.channel_ready()
        self._connecting = None
        self._send_due()

    async def _call(self, frame: Frame) -> None:
        """Send a frame in a call of its own."""
        message, patient = frame.messages[0], self._channel.wait_for_ready
        left = max(0.0, message.deadline - self._loop.time())
        try:
            answer = await self._channel.publish_batch(
                frame.encode(), timeout=left, wait_for_ready=patient, metadata=self._channel.metadata()
            )
        except grpc.aio.AioRpcError as failure:
            error = self._channel.error(failure, message.timeout, idempotent=False)
            self.answers.failed(frame, error, rest=True)
        else:
            self.answers.answered(frame, answer)
        finally:
            del self._alone[frame]
        self._send_due()

    def _answered(self, answer: bytes) -> None:
        frame = self._in_flight.popleft()
        self._opening = False
        self._backoff.reset()
        self.answers.answered(frame, answer)
        self._send_due()

    def _ended(self, status: grpc.aio.AioRpcError | None) -> None:
        if status is not None:
            self._lost(from_rpc(status, self._channel.target, idempotent=False))
        else:
            text = f"{self._channel.target} ended the stream before it answered: the message may or may not be stored"
            self._lost(OutcomeUnknown("STREAM_ENDED", text))

    def _look_for_stall(self) -> None:
        self._stall = None
        if self._stream is None or not self._in_flight:
            return
        left = self._in_flight[0].sent_at + self._patience - self._loop.time()
        if left > 0:
            self._stall = self._loop.call_later(left, self._look_for_stall)
            return
        self._stream.cancel()
        text = f"no answer from {self._channel.target} in {self._patience:g} s: the message may or may not be stored"
        self._lost(OutcomeUnknown("NO_ANSWER", text))

    def _lost(self, error: BrokerError) -> None:
        """Go on without the stream."""
        frames = list(self._in_flight)
        self._in_flight.clear()
        self._stream = None
        again = 0
        for frame in frames:
            again += self.answers.failed(frame, error, rest=False)
        if again or (self._channel.wait_for_ready and isinstance(error, Unavailable)):
            # Also when nothing is to be sent again: the channel may not have noticed yet that its connection is gone.
            pause = self._backoff.next(error.retry_after)
            logger.info("%s; %d messages will be sent again, in %.2f s", error, again, pause)
            self._rest = self._loop.call_later(pause, self._rested)
        self._send_due()

    def _rested(self) -> None:
        self._rest = None
        self._send_due()
