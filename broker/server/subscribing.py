"""Subscribe and SubscribeBatch: requests to subscriptions, and the engine's outlet to the door."""

from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from broker.api.broker_pb2 import SubscribeRequest
from broker.engine.engine import Engine
from broker.engine.outlet import Framing
from broker.engine.rules import start_invalid
from broker.engine.subscription import EARLIEST, LATEST, Start
from broker.errors import NotAuthorized, Refused
from broker.server.authorization import Authorization
from broker.server.calls import CANCELLED, CallMetrics
from broker.server.door import Call, Door, Metadata
from broker.server.permissions import Action
from broker.server.statuses import code_of, ending
from broker.server.wire import decode
from broker.telemetry.metrics import Metrics


class Subscriber(NamedTuple):
    """Whose subscription it is."""

    calls: CallMetrics
    subject: str
    metadata: Metadata | None


class DoorOutlet:
    """Carries the engine's frames to the door, and remembers whose each subscription is."""

    def __init__(self, door: Door, metrics: Metrics) -> None:
        self.subscribers: dict[int, Subscriber] = {}
        self._door = door
        self._sent = metrics.sent_bytes
        self.open = door.open

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue frames for subscribers; returns those who are full."""
        refused = self._door.send(frames, tokens)
        self._sent.inc(sum(map(len, frames)) * (len(tokens) - len(refused)))
        return refused

    def end(self, token: int, error: Refused) -> None:
        """End a subscription with an error."""
        self._door.finish([ending(token, error)])
        self.ended(token, code_of(error))

    def ended(self, token: int, code: int) -> None:
        """Count a subscription's end, once."""
        subscriber = self.subscribers.pop(token, None)
        if subscriber is not None:
            subscriber.calls.ended(code)


class Subscribing:
    """Translates the two ways to subscribe."""

    def __init__(self, engine: Engine, outlet: DoorOutlet, metrics: Metrics, authorization: Authorization) -> None:
        self._engine = engine
        self._authorization = authorization
        self._outlet = outlet
        self._metrics = {name: CallMetrics(metrics, name) for name in ("Subscribe", "SubscribeBatch")}

    def subscribe(self, calls: list[Call], method: str, framing: Framing) -> None:
        """Begin subscriptions of one kind."""
        subscribers = self._outlet.subscribers
        for token, data, metadata in calls:
            subscribers[token] = Subscriber(self._metrics[method], "", metadata)
            try:
                request = decode(SubscribeRequest, data or b"")
                self._engine.rules.check_subject(request.subject)
                self._authorization.grant(metadata, Action.SUBSCRIBE).check(request.subject)
                self._engine.subscribe(token, request.subject, _start(request), framing)
            except Refused as error:
                if isinstance(error, NotAuthorized):
                    self._authorization.denied(error, metadata)
                self._outlet.end(token, error)
            else:
                subscribers[token] = subscribers[token]._replace(subject=request.subject)

    def end_denied(self) -> None:
        """End the subscriptions whose clients may not have them any more."""
        for token, subscriber in list(self._outlet.subscribers.items()):
            try:
                self._authorization.grant(subscriber.metadata, Action.SUBSCRIBE).check(subscriber.subject)
            except NotAuthorized as error:
                self._authorization.denied(error, subscriber.metadata)
                self._engine.end_subscription(token, error)

    def gone(self, token: int) -> None:
        """Forget a subscription whose client is gone; other tokens are ignored."""
        if token in self._outlet.subscribers:
            self._engine.unsubscribe(token)
            self._outlet.ended(token, CANCELLED)


def _start(request: SubscribeRequest) -> Start:
    match request.WhichOneof("start"):
        case "after_id":
            if request.after_id < 0:
                raise start_invalid(f"after_id is {request.after_id}: use 0 for everything, or the last id you have")
            return Start("after", request.after_id)
        case "since":
            return Start("since", _milliseconds(request.since))
        case "earliest" if request.earliest:
            return EARLIEST
        case _:
            return LATEST


def _milliseconds(time: Timestamp) -> int:
    if not 0 <= time.nanos < 1_000_000_000 or abs(time.seconds) > 315_576_000_000:
        raise start_invalid(f"since is not a time: seconds {time.seconds}, nanos {time.nanos}")
    # Rounded up: a message of the same millisecond but before the time asked for is not wanted.
    return time.seconds * 1000 + -(-time.nanos // 1_000_000)
