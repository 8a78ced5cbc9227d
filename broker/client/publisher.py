"""Publishing: each message waits here for its answer."""

import asyncio

from broker.client.calls import Channel
from broker.client.composer import Composer, Pending
from broker.client.errors import DeadlineExceeded, OutcomeUnknown, Unavailable
from broker.client.messages import MessageId
from broker.client.outbox import Outbox
from broker.client.room import Room

MAX_MESSAGES = 10_000
MAX_BYTES = 32 << 20
"""Messages, and their bytes, that were handed over and have no answer yet."""

_SWEEP_INTERVAL = 0.02
"""Seconds between two looks for messages whose time is over."""


class Publisher:
    """Takes messages one by one and gives each its answer. They leave in frames (see `Outbox`).

    The messages of a subject are published in the order in which they were handed over. What was handed over and has no
    answer yet is bounded.

    Args:
        channel: to the server.
        patience: the seconds after which a stream that leaves a frame unanswered is given up.
    """

    def __init__(self, channel: Channel, *, patience: float) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._composer = Composer()
        self._room = Room(MAX_MESSAGES, MAX_BYTES)
        self._outbox = Outbox(channel, self._composer, self._room, patience)
        self._sweep: asyncio.TimerHandle | None = None
        self._sweep_at = float("inf")
        self._closed = False

    async def hand_over(self, subject: str, part: bytes, timeout: float, *, keyed: bool, named: bool) -> Pending:  # noqa: ASYNC109
        """Queue a message as soon as there is room; `answer` waits for what becomes of it.

        Args:
            subject: of the message.
            part: the message as a frame of one (see `publish_part`).
            timeout: in seconds, for everything together.
            keyed: it has a key, so it may be sent again.
            named: the key is the caller's.

        Raises:
            DeadlineExceeded: there was no room within the timeout.
            RuntimeError: the broker was closed.
        """
        if self._closed:
            msg = "this broker is closed: publish inside its `async with`"
            raise RuntimeError(msg)
        deadline = self._loop.time() + timeout
        if not self._room.take(len(part)):
            await self._wait_for_room(len(part), deadline, timeout)
        message = Pending(subject, part, self._loop.create_future(), deadline, timeout, keyed=keyed, named=named)
        self._composer.put(message)
        if deadline < self._sweep_at:
            self._sweep_no_later_than(deadline)
        self._outbox.wake()
        return message

    async def answer(self, message: Pending) -> MessageId:
        """Wait for the id of a message. When this is cancelled before the message was sent, it is dropped.

        Raises:
            BrokerError: what came instead.
        """
        try:
            return await message.answer
        except asyncio.CancelledError:
            self._drop(message)
            raise

    def cancel(self, message: Pending) -> None:
        """Wait no longer for the answer, and drop the message if it was not sent."""
        if message.answer.cancel():
            self._drop(message)
        elif not message.answer.cancelled():
            message.answer.exception()  # looked at, so that asyncio does not log it

    def _drop(self, message: Pending) -> None:
        if message.answer.cancelled() and not message.in_flight:
            self._composer.drop(message)
            self._room.release(len(message.part))

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109
        """Take no more messages, wait until those that came have their answers, then fail what is left."""
        self._closed = True
        try:
            async with asyncio.timeout(timeout):
                while waiting := [message.answer for message in self._unanswered()]:
                    await asyncio.wait(waiting)
                    await asyncio.sleep(0)  # those who waited for room come in
        except TimeoutError:
            pass
        finally:
            if self._sweep is not None:
                self._sweep.cancel()
            self._fail_all()
            await self._outbox.close()

    def _unanswered(self) -> list[Pending]:
        """Return what somebody still waits for."""
        messages = [*self._composer]
        for frame in self._outbox:
            messages += frame.messages
        return [message for message in messages if not message.answer.done()]

    def _fail_all(self) -> None:
        self._room.refuse(Unavailable("CLOSED", "the broker was closed before the message was sent"))
        for message in self._unanswered():
            if message.in_flight or message.doubt:
                text = "the broker was closed before an answer came: the message may or may not be stored"
                message.answer.set_exception(OutcomeUnknown("CLOSED", text, retriable=message.named))
            else:
                text = "the broker was closed before the message was sent: nothing was stored"
                message.answer.set_exception(Unavailable("CLOSED", text, retriable=True))

    async def _wait_for_room(self, size: int, deadline: float, timeout: float) -> None:  # noqa: ASYNC109
        try:
            async with asyncio.timeout_at(deadline):
                await self._room.wait(size)
        except TimeoutError:
            if not self._channel.connected:
                text = self._channel.no_connection(timeout)
                raise DeadlineExceeded("NOT_CONNECTED", text, retriable=True) from None
            text = f"not sent to {self._channel.target} within {timeout:g} s: too many messages wait for their answers"
            raise DeadlineExceeded("DEADLINE_EXCEEDED", text, retriable=True) from None

    # One timer for all deadlines: it is set for the earliest, and looks at all messages when it rings. While answers
    # come in time, that is once in a timeout.

    def _sweep_no_later_than(self, deadline: float) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep_at = deadline
        self._sweep = self._loop.call_at(deadline, self._expire_due)

    def _expire_due(self) -> None:
        now = self._loop.time()
        self._sweep, self._sweep_at = None, float("inf")
        earliest = float("inf")
        for message in self._unanswered():
            if message.deadline > now:
                earliest = min(earliest, message.deadline)
                continue
            if not message.in_flight:
                self._composer.drop(message)
            self._outbox.answers.expire(message)
        if earliest < float("inf"):
            self._sweep_no_later_than(max(earliest, now + _SWEEP_INTERVAL))
