"""gRPC health checking v1, as raw routes. https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

from collections.abc import Callable

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from broker.errors import InvalidRequest
from broker.server.door import Call, Door, Ending
from broker.server.wire import decode

SERVICES = ("", "broker.Broker")

_SERVING = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
_NOT_SERVING = HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING).SerializeToString()
_SERVICE_UNKNOWN = HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN).SerializeToString()

_NOT_FOUND = 5


class Health:
    """Says whether this broker serves, to those who ask and to those who watch."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._serving = False
        self._watchers: set[int] = set()
        self._strangers: set[int] = set()
        """Those who watch an unknown service."""

    @property
    def serving(self) -> bool:
        """Whether the answer is SERVING."""
        return self._serving

    @serving.setter
    def serving(self, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            if self._watchers:
                self._door.send([self._now()], list(self._watchers))

    def check(self, calls: list[Call]) -> list[int]:
        """Answer Check calls; returns the code of each."""
        codes = []
        for token, request, _ in calls:
            service = _service(request)
            if service in SERVICES:
                self._door.answer([(token, self._now())])
                codes.append(0)
            else:
                text = f"no service {service[:100]!r} here: ask for one of {SERVICES}"
                self._door.finish([(token, _NOT_FOUND, text, b"", ())])
                codes.append(_NOT_FOUND)
        return codes

    def watch(self, calls: list[Call]) -> None:
        """Begin Watch calls; an unknown service is told so and stays, as the protocol wants it."""
        for token, request, _ in calls:
            known = _service(request) in SERVICES
            self._door.open([token])
            self._door.send([self._now() if known else _SERVICE_UNKNOWN], [token])
            (self._watchers if known else self._strangers).add(token)

    def end(self, ending: Callable[[int], Ending]) -> None:
        """End all Watch calls: they never end by themselves."""
        watchers = [*self._watchers, *self._strangers]
        self._watchers.clear()
        self._strangers.clear()
        self._door.finish([ending(token) for token in watchers])

    def gone(self, token: int) -> None:
        """Forget a watcher; other tokens are ignored."""
        self._watchers.discard(token)
        self._strangers.discard(token)

    def _now(self) -> bytes:
        return bytes(_SERVING if self._serving else _NOT_SERVING)


def _service(request: bytes | None) -> str:
    try:
        return str(decode(HealthCheckRequest, request or b"").service)
    except InvalidRequest:
        return "?"
