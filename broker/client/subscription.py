"""A subscription that outlives its connections."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Self

import grpc

from broker.api import broker_pb2
from broker.backoff import Backoff
from broker.client.calls import Channel
from broker.client.errors import BrokerError, RateLimited, Unavailable, from_rpc
from broker.client.messages import EARLIEST, LATEST, Message, Start, after_id, from_wire, subscribe_request

logger = logging.getLogger(__name__)

OnReconnect = Callable[[BrokerError], object]
"""Called with the error that ended the connection, when the subscription stands again."""

_Call = grpc.aio.UnaryStreamCall[broker_pb2.SubscribeRequest, broker_pb2.MessageBatch]


class Subscription:
    """The messages of one subject, in id order, each once. Made by `Broker.subscribe`.

    It is an async iterator, and an async context manager for those who want to know when it stands:

        async with broker.subscribe("orders") as orders:
            ...                       # every message acknowledged from here on will be delivered
            async for message in orders:
                ...

    Without `async with` the first iteration opens it. It reads the next frame only when the last one was given out
    (behind that, HTTP/2 flow control holds the server back), so a slow loop costs neither memory nor messages. A
    timeout around the loop does no harm: the next iteration goes on where it stopped. One task at a time may iterate;
    any may close it.

    When the connection is lost it connects again, with growing, jittered pauses and without end, and goes on after
    the last message it gave out: nothing that is retained is lost or given twice. It does not end by itself; it
    raises BrokerError only for what another attempt cannot cure.

    What a reconnect cannot bring back:
    - fire-and-forget messages that were published while it was away, and messages that expired meanwhile;
    - when the server lost its messages (a memory broker restarted), those. This is noticed when the new server has
      not yet come to our last id: a warning is logged, and the subscription goes on from the earliest message. It
      cannot be noticed once the new server has more messages than the old one had.

    A subscription from LATEST is told the last id of the subject as it opens, and, should the connection be lost before
    a message came, goes on after that id: "from now on" means from then on, also across a reconnect.
    """

    def __init__(self, channel: Channel, subject: str, start: Start, on_reconnect: OnReconnect | None) -> None:
        subscribe_request(subject, start)  # a wrong argument is told here, not at the first iteration
        self._channel = channel
        self._subject = subject
        self._position = start
        self._on_reconnect = on_reconnect
        self._backoff = Backoff()
        self._call: _Call | None = None
        """The call while the subscription stands."""
        self._reading: asyncio.Task[broker_pb2.MessageBatch] | None = None
        self._frame: Iterator[broker_pb2.Message] = iter(())
        self._last_id: int | None = None
        self._lost: BrokerError | None = None
        """What ended it when it stood the last time."""
        self._stood = False
        self._dialing: _Call | None = None
        """The call while it is not yet known whether it stands."""
        self._closing = asyncio.Event()

    @property
    def subject(self) -> str:
        """The subject it listens to."""
        return self._subject

    @property
    def last_id(self) -> int | None:
        """The id of the last message it gave out; store it to go on later with `start=after_id(…)`."""
        return self._last_id

    async def __aenter__(self) -> Self:
        await self._ensure_standing()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while True:
            for message in self._frame:
                self._last_id = message.id
                self._position = after_id(message.id)
                return from_wire(message)
            call = await self._ensure_standing()
            if call is None:
                raise StopAsyncIteration
            await self._next_frame(call)

    async def close(self) -> None:
        """End it; iterations end. Calling it again does nothing."""
        self._closing.set()
        self._frame = iter(())
        reading = self._reading
        self._hang_up()
        if self._dialing is not None:
            self._dialing.cancel()
        if reading is not None:
            await asyncio.wait([reading])

    def __del__(self) -> None:
        # Left by `break` without `async with`: do not keep the server sending.
        with contextlib.suppress(AttributeError, RuntimeError):
            self._hang_up()

    def _hang_up(self) -> None:
        call, self._call, self._reading = self._call, None, None
        if call is not None:
            call.cancel()

    def _cancel(self, call: _Call) -> None:
        self._reading = None
        call.cancel()

    async def _ensure_standing(self) -> _Call | None:
        """Return the call, opened if need be; None when the subscription was closed."""
        if self._closed():
            return None
        if self._call is None:
            await (self._reconnect() if self._stood else self._open_first())
        return self._call

    async def _next_frame(self, call: _Call) -> None:
        """Wait for one frame, or for the end of the call."""
        reading = self._reading or self._read_on(call)
        try:
            # Shielded: a timeout of the caller must not cancel the call, only this waiting for it.
            frame = await asyncio.shield(reading)
        except BrokerError as error:
            self._lost = error
            self._hang_up()
        except asyncio.CancelledError:
            if not self._hung_up_by_close():
                raise
        else:
            self._reading = None
            self._backoff.reset()
            if self._position == LATEST and frame.HasField("position"):
                self._position = after_id(frame.position)
            self._frame = iter(frame.messages)

    def _read_on(self, call: _Call) -> asyncio.Task[broker_pb2.MessageBatch]:
        self._reading = asyncio.create_task(_read(call, self._channel.target))
        self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _open_first(self) -> None:
        """Open it, waiting for a server that is away as long as any other call would."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._channel.timeout
        while not self._closed():
            try:
                await self._open(deadline - clock())
            except BrokerError as error:
                if self._closed():
                    return
                pause = self._backoff.next(error.retry_after)
                again = (
                    self._channel.wait_for_ready and isinstance(error, Unavailable | RateLimited) and error.retriable
                )
                if not again or clock() + pause >= deadline:
                    raise
                await self._pause(pause)
            else:
                self._stood = True
                return

    async def _reconnect(self) -> None:
        """Connect again until the subscription stands, or until an error says that it never will."""
        cause = error = self._lost or Unavailable("STREAM_ENDED", "the connection was lost", retriable=True)
        while not self._closed():
            if error.reason == "START_BEYOND_END":
                logger.warning(
                    "the broker at %s has lost the messages of subject %r (it never gave the id %d): "
                    "going on from the earliest it has",
                    self._channel.target, self._subject, self._position.id,
                )  # fmt: skip
                self._position = EARLIEST
            elif not error.retriable:
                raise error
            pause = self._backoff.next(error.retry_after)
            level = logging.WARNING if error is cause else logging.INFO
            logger.log(level, "subscription to %r lost: %s; connecting again in %.1f s", self._subject, error, pause)
            await self._pause(pause)
            try:
                await self._open(self._channel.timeout)
            except BrokerError as failure:
                error = failure
                continue
            if self._on_reconnect is not None:
                self._on_reconnect(cause)
            return

    async def _open(self, limit: float) -> None:
        """Call, and wait until the subscription stands.

        Raises:
            BrokerError: it does not, or not within `limit` seconds.
        """
        call = await self._dial(self._position, limit)
        if self._closed():  # by another task, meanwhile
            self._cancel(call)
            return
        self._call = call

    async def _dial(self, start: Start, limit: float) -> _Call:
        request = subscribe_request(self._subject, start)
        channel = self._channel
        call = channel.subscribe_batch(request, wait_for_ready=channel.wait_for_ready, metadata=channel.metadata())
        self._dialing = call
        try:
            async with asyncio.timeout(limit):
                await call.initial_metadata()
                # A refused call gives empty metadata and keeps its error for the first read. And from now on, the
                # first frame tells where that is: until it is here, a lost connection could not be made good.
                if start == LATEST or call.done():
                    await asyncio.shield(self._read_on(call))
        except BrokerError:
            self._reading = None
            raise
        except TimeoutError:
            self._cancel(call)
            message, code = self._channel.no_connection(limit), grpc.StatusCode.DEADLINE_EXCEEDED
            raise Unavailable("NOT_CONNECTED", message, code=code, retriable=True) from None
        except asyncio.CancelledError:
            self._cancel(call)
            if not self._hung_up_by_close():
                raise
            raise Unavailable("SUBSCRIPTION_CLOSED", "the subscription was closed") from None
        finally:
            self._dialing = None
        return call

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not after it was closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _hung_up_by_close(self) -> bool:
        """Whether a CancelledError comes from `close` in another task, not from cancelling this one."""
        task = asyncio.current_task()
        return self._closed() and not (task is not None and task.cancelling())

    def _closed(self) -> bool:
        return self._closing.is_set()


async def _read(call: _Call, target: str) -> broker_pb2.MessageBatch:
    """Read one frame; the end of the stream, which a broker never sends, is a lost connection."""
    try:
        frame = await call.read()
    except grpc.aio.AioRpcError as failure:
        raise from_rpc(failure, target, idempotent=True) from failure
    if isinstance(frame, broker_pb2.MessageBatch):
        return frame
    raise Unavailable("STREAM_ENDED", f"{target} ended the subscription without an error", retriable=True)


def _retrieve(reading: asyncio.Task[broker_pb2.MessageBatch]) -> None:
    """Look at the outcome, so that a subscription which nobody reads any more leaves no warning behind."""
    if not reading.cancelled():
        reading.exception()
