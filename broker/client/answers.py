"""What the server's answers mean for each message: an id, an error, or another attempt."""

import asyncio
from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError

from broker.api.broker_pb2 import PublishBatchResponse
from broker.backoff import pause_after
from broker.client.calls import Channel
from broker.client.composer import Composer, Frame, Pending
from broker.client.errors import (
    BrokerError,
    DeadlineExceeded,
    InvalidRequest,
    LimitReached,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    bounded,
    build,
)
from broker.client.messages import DuplicateId, MessageId
from broker.client.room import Room

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Answers:
    """Resolves messages, or queues them again where that cannot store them twice.

    Args:
        channel: says whether to be patient, and where the server is.
        composer: gets what is to be sent again.
        room: gets back what resolved messages took of it.
        wake: called when something may leave again.
    """

    def __init__(self, channel: Channel, composer: Composer, room: Room, wake: Callable[[], None]) -> None:
        self._channel = channel
        self._composer = composer
        self._room = room
        self._wake = wake
        self._loop = asyncio.get_running_loop()

    def answered(self, frame: Frame, data: bytes) -> None:
        """Take the answer to a frame, a `broker.PublishBatchResponse`."""
        try:
            response = PublishBatchResponse.FromString(data)
        except DecodeError:
            response = PublishBatchResponse()
        if len(response.ids) != len(frame.messages):
            text = f"{self._channel.target} gave an answer that is none: the message may or may not be stored"
            self.failed(frame, OutcomeUnknown("ANSWER_MALFORMED", text), rest=True)
            return
        errors: dict[int, BrokerError] = {}
        for refused in response.errors:
            code = _CODES.get(refused.code, grpc.StatusCode.UNKNOWN)
            errors[refused.index] = error = build(code, refused.reason, refused.message)
            if refused.HasField("retry_after"):
                error.retry_after = bounded(refused.retry_after.ToTimedelta().total_seconds())
        again = [
            frame.messages[index] for index, error in errors.items() if self._refused(frame.messages[index], error)
        ]
        self._queue_again(frame, again, rest=True)
        # Not now: the next frame shall be on its way before the tasks that wait for this one wake up.
        self._loop.call_soon(self._resolve, frame, list(response.ids), errors, frozenset(response.duplicates))

    def failed(self, frame: Frame, error: BrokerError, *, rest: bool) -> int:
        """Take the end of a frame without an answer, and return how many of its messages are to be sent again.

        With `rest`, their subjects wait a little before that.
        """
        again = [message for message in frame.messages if self._refused(message, error)]
        self._queue_again(frame, again, rest=rest)
        return len(again)

    def refuse_waiting(self, subject: str, error: LimitReached) -> None:
        """Refuse what waits on a subject, so that it does not overtake what was refused before it."""
        for message in self._composer.waiting(subject):
            if message.doubt is None:
                self._composer.drop(message)
                self.fail(message, error)

    def expire(self, message: Pending) -> None:
        """Fail a message whose time is over."""
        within = f"within {message.timeout:g} s"
        error: BrokerError
        if message.doubt is not None:
            error = message.doubt
        elif not self._channel.connected:
            text = self._channel.no_connection(message.timeout)
            error = DeadlineExceeded("NOT_CONNECTED", text, code=_DEADLINE, retriable=not message.in_flight)
        elif message.error is not None and not message.in_flight:
            error = message.error
        elif message.in_flight:
            text = f"no answer from {self._channel.target} {within}: the message may or may not be stored"
            error = DeadlineExceeded("DEADLINE_EXCEEDED", text, code=_DEADLINE)
        else:
            text = f"not sent to {self._channel.target} {within}, because messages before it had no answer"
            error = DeadlineExceeded("DEADLINE_EXCEEDED", text, code=_DEADLINE, retriable=True)
        self._set(message, error)
        if not message.in_flight:
            self._room.release(len(message.part))

    def fail(self, message: Pending, error: BrokerError) -> None:
        """Fail a message that is not waiting any more."""
        if message.doubt is not None and not isinstance(error, InvalidRequest):
            error = message.doubt
        self._set(message, error)
        self._room.release(len(message.part))

    def _set(self, message: Pending, error: BrokerError) -> None:
        if not message.answer.done():
            # A copy: an exception that is raised in many tasks would gather all their tracebacks.
            message.answer.set_exception(error.copy(retriable=error.retriable or _may_repeat(message, error)))

    def _refused(self, message: Pending, error: BrokerError) -> bool:
        """Fail a message that was in flight, unless it shall be sent again."""
        if isinstance(error, OutcomeUnknown):
            message.doubt = error
        unavailable = isinstance(error, Unavailable) and (error.retriable or message.keyed)
        # Only another attempt can tell now whether it was stored.
        doubtful = message.doubt is not None and message.keyed and isinstance(error, LimitReached)
        limited = isinstance(error, RateLimited)
        in_time = self._loop.time() + (error.retry_after or 0.0) < message.deadline
        again = unavailable or doubtful or (limited and in_time)
        if self._channel.wait_for_ready and again and not message.answer.done():
            message.error = error
            return True
        self.fail(message, error)
        if isinstance(error, RateLimited):
            self.refuse_waiting(message.subject, error)
        return False

    def _queue_again(self, frame: Frame, again: list[Pending], *, rest: bool) -> None:
        if not again:
            self._composer.release(frame.subjects)
            return
        subjects: dict[str, list[Pending]] = {}
        for message in again:
            message.in_flight = False
            message.attempts += 1
            subjects.setdefault(message.subject, []).append(message)
        for subject, messages in subjects.items():
            self._composer.put_back(subject, messages)
        if not rest:
            self._composer.release(frame.subjects)
            return
        self._composer.release([subject for subject in frame.subjects if subject not in subjects])
        attempts = max(message.attempts for message in again)
        pause = pause_after(attempts, first=0.05, longest=1.0, at_least=_asked_for(again))
        self._loop.call_later(pause, self._rested, list(subjects))

    def _rested(self, subjects: list[str]) -> None:
        self._composer.release(subjects)
        self._wake()

    def _resolve(
        self, frame: Frame, ids: list[int], errors: dict[int, BrokerError], duplicates: frozenset[int]
    ) -> None:
        size = count = 0
        for index, message in enumerate(frame.messages):
            if errors and index in errors:
                continue
            size += len(message.part)
            count += 1
            answer = message.answer
            if not answer.done():
                # One that is a duplicate of its own first attempt is none to the caller.
                known = index in duplicates and message.named and message.doubt is None
                answer.set_result(DuplicateId(ids[index]) if known else MessageId(ids[index]))
        self._room.release(size, count)


_DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED


def _asked_for(messages: list[Pending]) -> float:
    """Return how many seconds the server has asked to wait with them."""
    return max((message.error.retry_after or 0.0 for message in messages if message.error), default=0.0)


def _may_repeat(message: Pending, error: BrokerError) -> bool:
    """Whether the caller may publish it again with the same key, whatever became of it."""
    return message.named and isinstance(error, Unavailable | DeadlineExceeded)
