"""Frames of PublishBatch and PublishStream: checked, charged where a proxy limits rates, published, answered."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from broker.api.broker_pb2 import PublishBatchRequest
from broker.engine.engine import Engine
from broker.engine.publication import Outcomes, Publication
from broker.errors import NotAuthorized, Refused
from broker.server.authorization import Authorization
from broker.server.calls import count_refused
from broker.server.charging import Rooms, charged, none_has_room
from broker.server.door import Metadata
from broker.server.intake import Taken, take
from broker.server.permissions import Action
from broker.server.quota import Payer, Quota
from broker.server.statuses import UNEXPECTED
from broker.server.wire import batch_response, decode
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Sender(NamedTuple):
    """A call that sends frames."""

    metadata: Metadata | None
    payer: Payer | None
    """Who pays for them; None where nobody limits rates."""
    many: bool
    """Whether it may send more than one."""


class Frames:
    """Publishes frames."""

    def __init__(self, engine: Engine, metrics: Metrics, authorization: Authorization, quota: Quota) -> None:
        self._engine = engine
        self._metrics = metrics
        self._authorization = authorization
        self._quota = quota

    def sender(self, path: str, metadata: Metadata | None, *, many: bool) -> Sender:
        """Return who sends the frames of a call."""
        return Sender(metadata, self._quota.payer(path, metadata), many)

    async def settled(self) -> None:
        """Wait until no frame waits for what a proxy says of its limits."""
        await self._quota.settled()

    def publish(
        self, data: bytes, sender: Sender, answer: Callable[[bytes], None], fail: Callable[[Refused], None]
    ) -> None:
        """Publish a frame.

        `answer` gets the response, or `fail` what is found later to be wrong with the frame as a whole. Those of one
        sender are published in their order.

        Raises:
            Refused: the frame as a whole is wrong, or too much waits; nothing of it was published.
        """
        requests = decode(PublishBatchRequest, data).messages
        self._engine.rules.check_batch(len(requests))
        grant = self._authorization.grant(sender.metadata, Action.PUBLISH)
        taken = take(requests, self._engine.rules, self._engine.clock(), grant)
        count_refused(self._metrics, [error for _, error in taken.refused])
        for _, error in taken.refused:
            if isinstance(error, NotAuthorized):
                self._authorization.denied(error, sender.metadata)
        if sender.payer is None:
            self._publish(taken, answer)
            return

        def publish(rooms: Rooms) -> None:
            error = None if sender.many else none_has_room(taken, rooms)
            if error is not None:
                fail(error)
                return
            left = charged(taken, rooms)
            count_refused(self._metrics, [error for _, error in left.refused[len(taken.refused) :]])
            self._publish(left, answer)

        def publish_or_fail(rooms: Rooms) -> None:
            try:
                publish(rooms)
            except Exception:
                log.exception("a frame failed")
                fail(UNEXPECTED)

        sender.payer.charge({subject: len(part) for subject, part in taken.parts.items()}, len(data), publish_or_fail)

    def _publish(self, taken: Taken, answer: Callable[[bytes], None]) -> None:
        def done(outcomes: Outcomes) -> None:
            answer(batch_response(taken.places, taken.refused, outcomes))

        if not taken.parts:
            done(())
            return
        try:
            self._engine.publish(Publication(taken.parts, done, taken.order))
        except Refused as error:
            count_refused(self._metrics, [error] * len(taken.places))
            done([error] * len(taken.places))
