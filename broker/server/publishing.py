"""Publish, PublishBatch and PublishStream: requests to publications, outcomes to responses."""

import logging
from collections.abc import Callable, Iterator
from time import perf_counter

from broker.api.broker_pb2 import PublishBatchRequest
from broker.engine.engine import Engine
from broker.engine.publication import Outcomes, Publication, all_new
from broker.errors import NotAuthorized, Refused
from broker.server.asking import ClientTls
from broker.server.authorization import Authorization
from broker.server.calls import CANCELLED, CallMetrics
from broker.server.charging import Rooms, charged, none_has_room
from broker.server.door import Answer, Call, Door, Metadata
from broker.server.identity import described
from broker.server.intake import Taken, decoded, take
from broker.server.permissions import Action, Grant
from broker.server.publish_stream import PublishStream
from broker.server.quota import Payer, Quota
from broker.server.statuses import UNEXPECTED, code_of, ended, ending
from broker.server.wire import batch_response, decode, publish_response, publish_responses
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

PORTION_CALLS, PORTION_BYTES = 1000, 1 << 20
"""Calls that arrived together are accepted or refused together, up to so many."""


class Publishing:
    """Translates the three ways to publish."""

    def __init__(
        self, door: Door, engine: Engine, metrics: Metrics, authorization: Authorization, tls: ClientTls
    ) -> None:
        self._door = door
        self._engine = engine
        self._authorization = authorization
        self._metrics = metrics
        self._quota = Quota(metrics, tls)
        self._unary = CallMetrics(metrics, "Publish")
        self._batch = CallMetrics(metrics, "PublishBatch")
        self._stream = CallMetrics(metrics, "PublishStream")
        self._streams: dict[int, PublishStream] = {}

    def publish(self, calls: list[Call]) -> None:
        """Publish the messages of calls that arrived together."""
        for portion in portions(calls):
            for grant, together in self._authorization.by_grant(portion, Action.PUBLISH):
                self._publish(together, grant)

    def _publish(self, calls: list[Call], grant: Grant) -> None:
        began = perf_counter()
        tokens, requests, malformed = decoded(calls)
        taken = take(requests, self._engine.rules, self._engine.clock(), grant)
        failures = malformed + [(tokens[place], error) for place, error in taken.refused]
        if taken.refused:
            tokens = [tokens[place] for place in taken.places]
            self._tell_denied(failures, calls)

        def answer(outcomes: Outcomes) -> None:
            refused: list[tuple[int, Refused]] = []
            if all_new(outcomes):
                answers = list(zip(tokens, publish_responses(outcomes), strict=True))
            else:
                answers, refused = _divided(tokens, outcomes)
            self._door.answer(answers)
            self._unary.answered(answers, perf_counter() - began)
            self._fail(refused, began)

        self._count_refused([error for _, error in failures])
        if tokens:
            try:
                self._engine.publish(Publication(taken.parts, answer, taken.order))
            except Refused as error:
                failures += [(token, error) for token in tokens]
                self._count_refused([error] * len(tokens))
        self._fail(failures, began)

    def publish_batch(self, calls: list[Call]) -> None:
        """Publish the frames of PublishBatch calls."""
        for token, data, metadata in calls:
            began = perf_counter()
            payer = self._quota.payer("/broker.Broker/PublishBatch", metadata)

            def answer(response: bytes, token: int = token, began: float = began) -> None:
                answers = [(token, response)]
                self._door.answer(answers)
                self._batch.answered(answers, perf_counter() - began)

            def fail(error: Refused, token: int = token, began: float = began) -> None:
                self._count_refused([error])
                self._door.finish([ending(token, error)])
                self._batch.failed(code_of(error), perf_counter() - began)

            try:
                self._frame(token, data or b"", metadata, answer, payer, fail)
            except Refused as error:
                fail(error)

    def open_streams(self, calls: list[Call]) -> None:
        """Begin PublishStream calls."""
        opened: list[int] = []
        for token, _, metadata in calls:
            try:
                self._authorization.grant(metadata, Action.PUBLISH).check_any()
            except NotAuthorized as error:
                self._authorization.denied(error, metadata)
                self._door.finish([ending(token, error)])
                self._stream.ended(code_of(error))
            else:
                payer = self._quota.payer("/broker.Broker/PublishStream", metadata)
                self._streams[token] = PublishStream(token, metadata, payer)
                opened.append(token)
        self._door.open(opened)

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
            self._frame(token, frame, stream.metadata, answer, stream.payer)
        except Refused as error:
            # The last one: by value it would be taken for any other that waits, since all of them are empty.
            stream.pending.pop()
            self._count_refused([error])
            self._end(stream, error)

    def whose(self, token: int) -> str:
        """Return the client of a stream, for logs."""
        stream = self._streams.get(token)
        return described(stream.metadata if stream is not None else None)

    def gone(self, token: int) -> None:
        """Forget a stream whose client is gone; what it published is committed all the same."""
        if self._streams.pop(token, None) is not None:
            self._stream.ended(CANCELLED)

    def end_streams(self, error: Refused) -> None:
        """End all streams with an error as soon as what they published is answered."""
        for stream in list(self._streams.values()):
            if stream.ending is None:
                self._end(stream, error)

    def end_denied(self) -> None:
        """End the streams of clients who may publish nothing any more; others are refused message by message."""
        for stream in list(self._streams.values()):
            try:
                self._authorization.grant(stream.metadata, Action.PUBLISH).check_any()
            except NotAuthorized as error:
                if stream.ending is None:
                    self._authorization.denied(error, stream.metadata)
                    self._end(stream, error)

    async def settled(self) -> None:
        """Wait until no frame waits for what a proxy says of its limits."""
        await self._quota.settled()

    def _frame(
        self,
        token: int,
        data: bytes,
        metadata: Metadata | None,
        answer: Callable[[bytes], None],
        payer: Payer | None,
        fail: Callable[[Refused], None] | None = None,
    ) -> None:
        """Publish a frame; `answer` gets the response, or `fail`, if given, the error when no message has room.

        Raises:
            InvalidRequest: the frame as a whole is wrong; nothing of it was published.
        """
        requests = decode(PublishBatchRequest, data).messages
        self._engine.rules.check_batch(len(requests))
        grant = self._authorization.grant(metadata, Action.PUBLISH)
        taken = take(requests, self._engine.rules, self._engine.clock(), grant)
        self._count_refused([error for _, error in taken.refused])
        for _, error in taken.refused:
            if isinstance(error, NotAuthorized):
                self._authorization.denied(error, metadata)

        if payer is None:
            self._publish_taken(taken, answer)
            return

        def publish(rooms: Rooms) -> None:
            error = none_has_room(taken, rooms) if fail else None
            if fail and error:
                fail(error)
                return
            try:
                left = charged(taken, rooms)
                self._count_refused([error for _, error in left.refused[len(taken.refused) :]])
                self._publish_taken(left, answer)
            except Exception:
                log.exception("a frame failed")
                self.gone(token)
                self._door.finish([ending(token, UNEXPECTED)])

        payer.charge({subject: len(part) for subject, part in taken.parts.items()}, len(data), publish)

    def _publish_taken(self, taken: Taken, answer: Callable[[bytes], None]) -> None:
        def done(outcomes: Outcomes) -> None:
            answer(batch_response(taken.places, taken.refused, outcomes))

        if not taken.parts:
            done(())
            return
        try:
            self._engine.publish(Publication(taken.parts, done, taken.order))
        except Refused as error:
            self._count_refused([error] * len(taken.places))
            done([error] * len(taken.places))

    def _flush(self, stream: PublishStream) -> None:
        responses = stream.take_answered()
        if responses:
            self._door.send(responses, [stream.token])
            self._metrics.sent_bytes.inc(sum(map(len, responses)))
        if stream.ending is not None and not stream.pending and self._streams.pop(stream.token, None) is not None:
            self._door.finish([stream.ending])
            self._stream.ended(stream.ending[1])

    def _end(self, stream: PublishStream, error: Refused) -> None:
        stream.ending = ending(stream.token, error)
        self._flush(stream)

    def _fail(self, failures: list[tuple[int, Refused]], began: float) -> None:
        if failures:
            self._door.finish([ending(token, error) for token, error in failures])
            for _, error in failures:
                self._unary.failed(code_of(error), perf_counter() - began)

    def _tell_denied(self, failures: list[tuple[int, Refused]], calls: list[Call]) -> None:
        denied = {token: error for token, error in failures if isinstance(error, NotAuthorized)}
        for token, _, metadata in calls if denied else ():
            if token in denied:
                self._authorization.denied(denied[token], metadata)

    def _count_refused(self, errors: list[Refused]) -> None:
        for error in errors:
            self._metrics.refused.labels(error.reason).inc()


def portions(calls: list[Call]) -> Iterator[list[Call]]:
    """Cut calls in parts that are small beside what may wait for the store: a queue that is nearly full takes some."""
    start = size = 0
    for index, (_, request, _) in enumerate(calls):
        length = len(request or b"")
        if index > start and (size + length > PORTION_BYTES or index - start >= PORTION_CALLS):
            yield calls[start:index]
            start, size = index, 0
        size += length
    yield calls[start:] if start else calls


def _divided(tokens: list[int], outcomes: Outcomes) -> tuple[list[Answer], list[tuple[int, Refused]]]:
    """Return the answers to calls that were accepted, and the errors of the others."""
    answers: list[Answer] = []
    refused: list[tuple[int, Refused]] = []
    for token, outcome in zip(tokens, outcomes, strict=True):
        if isinstance(outcome, Refused):
            refused.append((token, outcome))
        else:
            answers.append((token, publish_response(outcome)))
    return answers, refused
