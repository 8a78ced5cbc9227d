"""The service: what each route means. All translation between protobuf and the engine stands behind this module."""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter

from broker.api.broker_pb2 import FetchRequest
from broker.engine.engine import Engine
from broker.engine.fetcher import Lookup
from broker.engine.peers import Peers
from broker.engine.rules import Limits
from broker.errors import NotAuthorized, Refused, Unavailable
from broker.server import reflection
from broker.server.asking import ClientTls
from broker.server.authorization import Authorization
from broker.server.calls import CallMetrics
from broker.server.door import Answer, Arrivals, Call, Door, Ending, Route
from broker.server.headers import TRACE
from broker.server.health import Health
from broker.server.identity import described
from broker.server.permissions import Action
from broker.server.publishing import Publishing
from broker.server.statuses import UNEXPECTED, code_name, code_of, elsewhere, ended, ending
from broker.server.subscribing import DoorOutlet, Subscribing
from broker.server.wire import BATCH, SINGLE, decode, encode_messages
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

ROUTES = [
    Route("/broker.Broker/Publish", "unary"),
    Route("/broker.Broker/Fetch", "unary"),
    Route("/broker.Broker/PublishBatch", "unary"),
    Route("/broker.Broker/PublishStream", "dialogue"),
    Route("/broker.Broker/Subscribe", "subscription"),
    Route("/broker.Broker/SubscribeBatch", "subscription", joinable=True),
    Route("/grpc.health.v1.Health/Check", "unary"),
    Route("/grpc.health.v1.Health/Watch", "subscription"),
    Route("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "dialogue"),
    Route("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "dialogue"),
]

DRAINING = Unavailable("DRAINING", "this server is shutting down: connect again, subscribers after their last id")

_ALL_ROUTES = frozenset(range(len(ROUTES)))
_BROKER_ROUTES = frozenset(index for index in _ALL_ROUTES if ROUTES[index].path.startswith("/broker."))


class Service:
    """Handles what a door brings in, by means of an engine."""

    def __init__(
        self,
        door: Door,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        peers: Peers | None = None,
        authorization: Authorization | None = None,
        tls: ClientTls = lambda: None,
    ) -> None:
        self._door = door
        self._authorization = authorization = authorization or Authorization(metrics)
        self._metrics = metrics
        self._refused_routes: frozenset[int] = frozenset()
        self._outlet = DoorOutlet(door, metrics)
        self.engine = Engine(store, limits, metrics, self._outlet, encode_messages, self._found, peers=peers)
        self.health = Health(door)
        self._publishing = Publishing(door, self.engine, metrics, authorization, tls)
        self._subscribing = Subscribing(self.engine, self._outlet, metrics, authorization)
        self._fetches = CallMetrics(metrics, "Fetch")
        self._fetch_began: dict[int, float] = {}
        self._reflections: set[int] = set()
        # In the order of ROUTES.
        self._handlers: list[Callable[[list[Call]], object]] = [
            self._publishing.publish,
            self._fetch,
            self._publishing.publish_batch,
            self._publishing.open_streams,
            lambda calls: self._subscribing.subscribe(calls, "Subscribe", SINGLE),
            lambda calls: self._subscribing.subscribe(calls, "SubscribeBatch", BATCH),
            self.health.check,
            self.health.watch,
            self._reflect,
            self._reflect,
        ]

    def start(self) -> None:
        """Start serving."""
        self.engine.start()
        self.health.serving = True

    @property
    def draining(self) -> bool:
        """Whether new calls are refused."""
        return bool(self._refused_routes)

    def store_is_away(self, away: bool) -> None:
        """Tell health checks whether this broker has lost its store for so long that others should take its calls."""
        self.health.serving = not away and not self.draining

    def rights_changed(self) -> None:
        """End the streams of those who may not have them any more."""
        self._subscribing.end_denied()
        self._publishing.end_denied()

    async def drain(self) -> None:
        """Refuse what is new, end subscriptions, and wait until everything accepted is answered."""
        self._refused_routes = _BROKER_ROUTES
        self.health.serving = False
        self.engine.end_subscriptions(DRAINING)
        self._publishing.end_streams(DRAINING)
        await self._publishing.settled()
        await self.engine.drained()
        # Who watches health or reflects would hold the door open until its patience ends.
        self._refused_routes = _ALL_ROUTES
        self.health.end(lambda token: ending(token, DRAINING))
        self._door.finish([ending(token, DRAINING) for token in self._reflections])

    def handle(self, arrivals: Arrivals) -> None:
        """Handle what a door brought in. An unexpected failure costs one list of calls, never the server."""
        self.engine.hold()
        try:
            self._handle(arrivals)
        finally:
            self.engine.release()

    def _handle(self, arrivals: Arrivals) -> None:
        for route, calls in arrivals.calls:
            self._received(calls)
            try:
                if route in self._refused_routes:
                    self._refuse(route, calls)
                else:
                    self._handlers[route](calls)
            except Exception:
                log.exception("calls of %s failed: %s", ROUTES[route].path, _whose(calls))
                self._door.finish([ending(token, UNEXPECTED) for token, _, _ in calls])
        for token, frame in arrivals.frames:
            try:
                self._frame(token, frame)
            except Exception:
                log.exception("a frame of a stream failed: %s", self._publishing.whose(token))
                self._publishing.gone(token)
                self._door.finish([ending(token, UNEXPECTED)])
        for token in arrivals.gone:
            self._publishing.gone(token)
            self._subscribing.gone(token)
            self.health.gone(token)
            self._reflections.discard(token)
        for token in arrivals.writable:
            self.engine.writable(token)

    def _received(self, calls: list[Call]) -> None:
        self._metrics.received_bytes.inc(sum([len(request) for _, request, _ in calls if request]))

    def _refuse(self, route: int, calls: list[Call]) -> None:
        if route in _BROKER_ROUTES:
            method = ROUTES[route].path.rpartition("/")[2]
            self._metrics.calls.labels(method, code_name(code_of(DRAINING))).inc(len(calls))
        self._door.finish([elsewhere(token, DRAINING) for token, _, _ in calls])

    def _fetch(self, calls: list[Call]) -> None:
        began = perf_counter()
        lookups = []
        answers: list[tuple[int, bytes | Refused]] = []
        for token, data, metadata in calls:
            self._fetch_began[token] = began
            try:
                request = decode(FetchRequest, data or b"")
                self.engine.rules.check_subject(request.subject)
                self._authorization.grant(metadata, Action.SUBSCRIBE).check(request.subject)
                lookups.append(Lookup(token, request.subject, request.id))
            except Refused as error:
                if isinstance(error, NotAuthorized):
                    self._authorization.denied(error, metadata)
                answers.append((token, error))
        if answers:
            self._found(answers)
        self.engine.fetch(lookups)

    def _found(self, answers: list[tuple[int, bytes | Refused]]) -> None:
        now = perf_counter()
        found: dict[float, list[Answer]] = {}
        failed: list[Ending] = []
        for token, answer in answers:
            began = self._fetch_began.pop(token, now)
            if isinstance(answer, Refused):
                failed.append(ending(token, answer))
                self._fetches.failed(code_of(answer), now - began)
            else:
                found.setdefault(began, []).append((token, answer))
        for began, together in found.items():
            self._door.answer(together)
            self._fetches.answered(together, now - began)
        if failed:
            self._door.finish(failed)

    def _reflect(self, calls: list[Call]) -> None:
        tokens = [token for token, _, _ in calls]
        self._reflections.update(tokens)
        self._door.open(tokens)

    def _frame(self, token: int, frame: bytes | None) -> None:
        if token in self._reflections:
            self._reflect_frame(token, frame)
        else:
            self._publishing.stream_frame(token, frame)

    def _reflect_frame(self, token: int, frame: bytes | None) -> None:
        if frame is None:
            self._reflections.discard(token)
            self._door.finish([ended(token)])
        else:
            self._door.send([reflection.respond(frame)], [token])


def _whose(calls: list[Call]) -> str:
    """Return the traces and the clients of calls, as far as they are known and one can still read them."""
    traces = [metadata[TRACE] for _, _, metadata in calls if metadata and metadata[TRACE]]
    clients = sorted({described(metadata) for _, _, metadata in calls[:1000]})
    return f"traces: {_some(traces)}; clients: {_some(clients)}"


def _some(words: Sequence[str | None]) -> str:
    return ", ".join(filter(None, words[:10])) or "none"
