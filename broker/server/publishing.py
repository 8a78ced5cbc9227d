"""Publish, PublishBatch and PublishStream: requests to publications, outcomes to responses."""

import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter

from broker.api.broker_pb2 import PublishBatchRequest, PublishBatchResponse, PublishError, PublishRequest
from broker.engine.engine import Engine
from broker.engine.publication import Duplicate, Outcome, Publication
from broker.errors import Refused
from broker.server.calls import CANCELLED, CallMetrics
from broker.server.door import Answer, Call, Door, Ending
from broker.server.statuses import code_of, ended, ending
from broker.server.wire import decode, encode_headers, publish_response
from broker.store.contract import NEVER_STORED, NewMessage
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Publishing:
    """Translates the three ways to publish."""

    def __init__(self, door: Door, engine: Engine, metrics: Metrics) -> None:
        self._door = door
        self._engine = engine
        self._metrics = metrics
        self._unary = CallMetrics(metrics, "Publish")
        self._batch = CallMetrics(metrics, "PublishBatch")
        self._stream = CallMetrics(metrics, "PublishStream")
        self._streams: dict[int, _PublishStream] = {}

    def publish(self, calls: list[Call]) -> None:
        """Publish the messages of calls that arrived together."""
        began = perf_counter()
        tokens: list[int] = []
        messages: list[tuple[str, NewMessage]] = []
        failures: list[tuple[int, Refused]] = []
        now = self._engine.clock()
        for token, data, _ in calls:
            try:
                request = decode(PublishRequest, data or b"")
                messages.append(self._message(request, now))
                tokens.append(token)
            except Refused as error:
                failures.append((token, error))

        def answer(outcomes: list[Outcome]) -> None:
            answers: list[Answer] = []
            refused: list[tuple[int, Refused]] = []
            for token, outcome in zip(tokens, outcomes, strict=True):
                if isinstance(outcome, Refused):
                    refused.append((token, outcome))
                else:
                    answers.append((token, publish_response(outcome)))
            self._door.answer(answers)
            self._unary.answered(answers, perf_counter() - began)
            self._fail(refused, began)

        self._count_refused([error for _, error in failures])
        if messages:
            try:
                self._engine.publish(Publication(messages, answer))
            except Refused as error:
                failures += [(token, error) for token in tokens]
                self._count_refused([error] * len(tokens))
        self._fail(failures, began)

    def publish_batch(self, calls: list[Call]) -> None:
        """Publish the frames of PublishBatch calls."""
        for token, data, _ in calls:
            began = perf_counter()

            def answer(response: bytes, token: int = token, began: float = began) -> None:
                answers = [(token, response)]
                self._door.answer(answers)
                self._batch.answered(answers, perf_counter() - began)

            try:
                self._frame(data or b"", answer)
            except Refused as error:
                self._count_refused([error])
                self._door.finish([ending(token, error)])
                self._batch.failed(code_of(error), perf_counter() - began)

    def open_streams(self, calls: list[Call]) -> None:
        """Begin PublishStream calls."""
        for token, _, _ in calls:
            self._streams[token] = _PublishStream(token)
        self._door.open([token for token, _, _ in calls])

    def stream_frame(self, token: int, frame: bytes | None) -> None:
        """Take a frame of a stream, or its end; frames after a stream's end was decided are not accepted."""
        stream = self._streams.get(token)
        if stream is None or stream.ending is not None:
            return
        if frame is None:
            stream.ending = ended(token)
            self._flush(stream)
            return
        began = perf_counter()
        self._metrics.received_bytes.inc(len(frame))
        slot = stream.expect()

        def answer(response: bytes) -> None:
            slot.append(response)
            self._stream.observe(perf_counter() - began)
            self._flush(stream)

        try:
            self._frame(frame, answer)
        except Refused as error:
            # The last one: by value it would be taken for any other that waits, since all of them are empty.
            stream.pending.pop()
            self._count_refused([error])
            self._end(stream, error)

    def gone(self, token: int) -> None:
        """Forget a stream whose client is gone; what it published is committed all the same."""
        if self._streams.pop(token, None) is not None:
            self._stream.ended(CANCELLED)

    def end_streams(self, error: Refused) -> None:
        """End all streams with an error as soon as what they published is answered."""
        for stream in list(self._streams.values()):
            if stream.ending is None:
                self._end(stream, error)

    def _message(self, request: PublishRequest, now: int) -> tuple[str, NewMessage]:
        subject, body, expiration = request.subject, request.body, request.expirationSeconds
        rules = self._engine.rules
        rules.check_message(subject, body, expiration)
        headers, key = b"", request.message_key
        if key:
            rules.check_key(key)
            if not rules.limits.deduplication_window:
                key = b""
        if request.headers:
            rules.check_headers(request.headers)
            headers = encode_headers(request)
        return subject, NewMessage(body, now + 1000 * expiration if expiration else NEVER_STORED, headers, key)

    def _frame(self, data: bytes, answer: Callable[[bytes], None]) -> None:
        """Publish a frame; `answer` gets the response.

        Raises:
            InvalidRequest: the frame as a whole is wrong; nothing of it was published.
        """
        requests = decode(PublishBatchRequest, data).messages
        self._engine.rules.check_batch(len(requests))
        now = self._engine.clock()
        ids = [0] * len(requests)
        duplicates: list[int] = []
        refused: list[tuple[int, Refused]] = []
        messages: list[tuple[str, NewMessage]] = []
        positions: list[int] = []
        for position, request in enumerate(requests):
            try:
                messages.append(self._message(request, now))
                positions.append(position)
            except Refused as error:
                refused.append((position, error))
        self._count_refused([error for _, error in refused])

        def done(outcomes: list[Outcome]) -> None:
            for position, outcome in zip(positions, outcomes, strict=True):
                if isinstance(outcome, Refused):
                    refused.append((position, outcome))
                else:
                    ids[position] = outcome
                    if type(outcome) is Duplicate:
                        duplicates.append(position)
            answer(_batch_response(ids, duplicates, refused))

        if not messages:
            done([])
            return
        try:
            self._engine.publish(Publication(messages, done))
        except Refused as error:
            self._count_refused([error] * len(messages))
            done([error] * len(messages))

    def _flush(self, stream: "_PublishStream") -> None:
        responses = stream.take_answered()
        if responses:
            self._door.send(responses, [stream.token])
            self._metrics.sent_bytes.inc(sum(map(len, responses)))
        if stream.ending is not None and not stream.pending and self._streams.pop(stream.token, None) is not None:
            self._door.finish([stream.ending])
            self._stream.ended(stream.ending[1])

    def _end(self, stream: "_PublishStream", error: Refused) -> None:
        stream.ending = ending(stream.token, error)
        self._flush(stream)

    def _fail(self, failures: list[tuple[int, Refused]], began: float) -> None:
        if failures:
            self._door.finish([ending(token, error) for token, error in failures])
            for _, error in failures:
                self._unary.failed(code_of(error), perf_counter() - began)

    def _count_refused(self, errors: list[Refused]) -> None:
        for error in errors:
            self._metrics.refused.labels(error.reason).inc()


class _PublishStream:
    """The frames of one PublishStream that await their answers, which leave in the order in which the frames came."""

    __slots__ = ("ending", "pending", "token")

    def __init__(self, token: int) -> None:
        self.token = token
        self.pending: deque[list[bytes]] = deque()
        self.ending: Ending | None = None

    def expect(self) -> list[bytes]:
        """Return the place for the next frame's response: an empty list."""
        slot: list[bytes] = []
        self.pending.append(slot)
        return slot

    def take_answered(self) -> list[bytes]:
        """Return the responses that may leave now."""
        responses: list[bytes] = []
        while self.pending and self.pending[0]:
            responses += self.pending.popleft()
        return responses


def _batch_response(ids: list[int], duplicates: list[int], refused: list[tuple[int, Refused]]) -> bytes:
    response = PublishBatchResponse(ids=ids, duplicates=duplicates)
    for position, error in sorted(refused, key=lambda pair: pair[0]):
        response.errors.append(
            PublishError(index=position, code=code_of(error), reason=error.reason, message=error.message)
        )
    return response.SerializeToString()
