"""Subscribe and SubscribeBatch: requests to subscriptions, and the engine's outlet to the door."""

from google.protobuf.timestamp_pb2 import Timestamp

from broker.api.broker_pb2 import SubscribeRequest
from broker.engine.engine import Engine
from broker.engine.outlet import Framing
from broker.engine.rules import start_invalid
from broker.engine.subscription import EARLIEST, LATEST, Start
from broker.errors import Refused
from broker.server.calls import CANCELLED, CallMetrics
from broker.server.door import Call, Door
from broker.server.statuses import code_of, ending
from broker.server.wire import decode
from broker.telemetry.metrics import Metrics


class DoorOutlet:
    """Carries the engine's frames to the door, and remembers which kind of call each subscription is."""

    def __init__(self, door: Door, metrics: Metrics) -> None:
        self.calls: dict[int, CallMetrics] = {}
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
        calls = self.calls.pop(token, None)
        if calls is not None:
            calls.ended(code)


class Subscribing:
    """Translates the two ways to subscribe."""

    def __init__(self, engine: Engine, outlet: DoorOutlet, metrics: Metrics) -> None:
        self._engine = engine
        self._outlet = outlet
        self._metrics = {name: CallMetrics(metrics, name) for name in ("Subscribe", "SubscribeBatch")}

    def subscribe(self, calls: list[Call], method: str, framing: Framing) -> None:
        """Begin subscriptions of one kind."""
        for token, data, _ in calls:
            self._outlet.calls[token] = self._metrics[method]
            try:
                request = decode(SubscribeRequest, data or b"")
                self._engine.rules.check_subject(request.subject)
                self._engine.subscribe(token, request.subject, _start(request), framing)
            except Refused as error:
                self._outlet.end(token, error)

    def gone(self, token: int) -> None:
        """Forget a subscription whose client is gone; other tokens are ignored."""
        if token in self._outlet.calls:
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
