"""One broker process: puts store, service, door and HTTP server together, runs them, and drains on SIGTERM."""

import asyncio
import contextlib
import gc
import logging
import random
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from broker.engine.engine import Engine
from broker.errors import StoreInUse, StoreUnavailable
from broker.peers import Mesh, parse_peers
from broker.server.addresses import check_free, with_port
from broker.server.authorization import Authorization
from broker.server.doors import make_door, other_door
from broker.server.giving_back import give_back
from broker.server.http import HttpServer
from broker.server.service import Service
from broker.server.settings import Settings, parse_settings
from broker.server.tls import TlsFiles
from broker.server.wire import encode_messages
from broker.store.contract import Store
from broker.telemetry.door import DoorMetrics
from broker.telemetry.logs import configure_logging
from broker.telemetry.metrics import Metrics

log = logging.getLogger("broker")

STORE_GRACE = 10.0
"""Seconds that the store may be away before this broker says that it is not ready."""

HANDOVER_MARGIN = 5.0
"""Seconds beyond its drain that the broker before this one may take to let go of the store."""

HANDOVER_POLL = 0.1
"""Seconds between looks at a store that another process holds."""

OPEN_FIRST_RETRY, OPEN_LAST_RETRY = 0.25, 2.0
"""Seconds between attempts to open a store for other reasons; doubled each time."""


def make_store(settings: Settings) -> Store:
    """Return the store that the settings name, not yet open."""
    # Imported here: a broker needs the code of one store only.
    if settings.store == "memory":
        from broker.store.memory import MemoryStore

        return MemoryStore(settings.memory_limit)
    if settings.store == "postgres":
        from broker.store.postgres import PostgresStore

        password_file = Path(settings.postgres_password_file) if settings.postgres_password_file else None
        dsn = Path(settings.postgres_dsn_file) if settings.postgres_dsn_file else settings.postgres_dsn
        return PostgresStore(dsn, password_file, settings.postgres_pool)
    from broker.store.sqlite import SqliteStore

    return SqliteStore(settings.sqlite_path, max_bytes=settings.sqlite_limit or None)


async def serve(settings: Settings) -> None:
    """Run a broker until SIGTERM or SIGINT, then drain it.

    Raises:
        OSError: an address cannot be listened on, or files of TLS or authorization cannot be used.
        StoreUnavailable: the store cannot be opened.
    """
    stop = _stop_signal()
    metrics = Metrics()
    readiness = Readiness()
    http = HttpServer(settings.http, metrics.registry, lambda: readiness.why_not())
    http.start()
    beating = asyncio.create_task(http.beat())
    try:
        # Before the store is waited for: wrong files shall be known at once.
        tls = TlsFiles(settings.tls, metrics) if settings.tls else None
        authorization = Authorization(metrics, settings.authorization_file)
        store = make_store(settings)
        if await _open(store, stop, readiness, settings):
            try:
                await _serve(settings, store, stop, metrics, readiness, http.address, tls, authorization)
            finally:
                await store.close()
    finally:
        beating.cancel()
        http.stop()


class Readiness:
    """Why this broker is not ready, for whoever asks."""

    def __init__(self) -> None:
        self.why_not: Callable[[], str] = lambda: self.trouble
        self.trouble = "the store is being opened"

    def follow(self, service: Service) -> None:
        """Ask the service from now on."""
        janitor = service.engine.janitor

        def why_not() -> str:
            if janitor.away_for() > STORE_GRACE:
                return f"the store has been away for {janitor.away_for():.0f} s: {janitor.trouble}"
            return "draining" if service.draining else ""

        self.why_not = why_not


async def _open(store: Store, stop: asyncio.Event, readiness: Readiness, settings: Settings) -> bool:
    """Open the store; False when told to stop instead.

    While another process holds it, wait for its end: a pod's successor starts while the pod drains, and one that gave
    up would be restarted later and later. For what else is wrong, wait as long as the settings say: where it is mended
    elsewhere, a broker that waits serves sooner than one that is started again.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    pause, said = OPEN_FIRST_RETRY, ""
    while not stop.is_set():
        try:
            await store.open()
        except StoreUnavailable as error:
            held = isinstance(error, StoreInUse)
            patience = max(settings.store_wait, settings.drain_timeout + HANDOVER_MARGIN if held else 0.0)
            if loop.time() >= began + patience:
                raise
            readiness.trouble = str(error)
            if str(error) != said:
                log.warning("waiting up to %g s: %s", patience, error)
                said = str(error)
            pause = HANDOVER_POLL if held else min(2 * pause, OPEN_LAST_RETRY)
        else:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause * random.uniform(0.8, 1.0))  # noqa: S311 - jitter, not a secret
    return False


async def _serve(
    settings: Settings,
    store: Store,
    stop: asyncio.Event,
    metrics: Metrics,
    readiness: Readiness,
    http: str,
    tls: TlsFiles | None,
    authorization: Authorization,
) -> None:
    if settings.peer_listen:
        check_free(settings.peer_listen, "other brokers")
    door = make_door(settings, tls.credentials if tls else None)
    mesh = _mesh(settings, store, metrics)
    towards_proxies = tls.towards_proxies if tls else lambda: None
    service = Service(door, store, settings.limits, metrics, mesh, authorization, towards_proxies)
    listen = await door.start(service.handle)
    DoorMetrics(metrics.registry, door.counters)
    peers = f" peers={await _join(mesh, service, settings.peer_listen)}" if mesh is not None else ""
    service.start()
    readiness.follow(service)
    following = [asyncio.create_task(_follow_store(service)), asyncio.create_task(give_back())]
    following.append(asyncio.create_task(authorization.follow(service.rights_changed)))
    if tls is not None:
        following.append(asyncio.create_task(tls.follow(door.set_tls)))
    metrics.info.labels(version("brokercluster"), store.name, door.name).set(1)
    # What exists now stays: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    log.info(
        "broker ready listen=%s http=%s store=%s door=%s (%s)%s",
        *(listen, http, store.name, door.name, other_door(door), peers),
    )

    try:
        await _stopped_or_failed(stop, service.engine)
    except BaseException:
        # Better a new process than one that answers nobody.
        await door.stop(grace=0)
        raise
    log.info("draining")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.drain_timeout
    try:
        async with asyncio.timeout_at(deadline):
            await service.drain()
    except TimeoutError:
        log.error("the store did not take what was published within %g s", settings.drain_timeout)
    # One timeout for both: whoever stops this process counts on it.
    await door.stop(grace=max(0.0, deadline - loop.time()))
    if mesh is not None:
        await mesh.stop()
    await service.engine.stop()
    for task in following:
        task.cancel()
    log.info("stopped")


def _mesh(settings: Settings, store: Store, metrics: Metrics) -> Mesh | None:
    if not settings.peer_listen:
        if store.shared:
            log.warning("without --peer-listen and --peers, messages of other brokers on this database arrive late")
        return None
    discovery = parse_peers(settings.peers) if settings.peers else None
    return Mesh(discovery, settings.peer_listen, store.identity, encode_messages, metrics)


async def _join(mesh: Mesh, service: Service, listen: str) -> str:
    """Begin to follow the other brokers; returns the address they follow us at."""
    port = await mesh.start(service.engine.receive, service.engine.resynchronise)
    return with_port(listen, port)


async def _stopped_or_failed(stop: asyncio.Event, engine: Engine) -> None:
    """Wait for the signal to stop; raise the engine's error should it fail before."""
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(engine.failure())]
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        task.result()


async def _follow_store(service: Service) -> None:
    """Let gRPC health say what /readyz says of the store, until cancelled."""
    while True:
        service.store_is_away(service.engine.janitor.away_for() > STORE_GRACE)
        await asyncio.sleep(1.0)


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m broker`; returns the exit status."""
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments)
    configure_logging("json" if settings.log_format == "json" else "text", settings.log_level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings))
    except (OSError, StoreUnavailable) as error:
        log.error("%s", error)
        return 1
    return 0
