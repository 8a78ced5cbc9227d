"""One broker process: puts store, service, door and HTTP server together, runs them, and drains on SIGTERM."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from broker.engine.engine import Engine
from broker.errors import StoreInUse, StoreUnavailable
from broker.server.grpcio_door import GrpcioDoor
from broker.server.http import HttpServer
from broker.server.service import ROUTES, Service
from broker.server.settings import Settings, parse_settings
from broker.store.contract import Store
from broker.telemetry.logs import configure_logging
from broker.telemetry.metrics import Metrics

log = logging.getLogger("broker")

STORE_GRACE = 10.0
"""Seconds that the store may be away before this broker says that it is not ready."""

HANDOVER_MARGIN = 5.0
"""Seconds beyond its drain that the broker before this one may take to let go of the store."""

HANDOVER_POLL = 0.1
"""Seconds between looks at a store that another process holds."""


def make_store(settings: Settings) -> Store:
    """Return the store that the settings name, not yet open."""
    # Imported here: a broker needs the code of one store only.
    if settings.store == "memory":
        from broker.store.memory import MemoryStore

        return MemoryStore(settings.memory_limit)
    if settings.store == "postgres":
        from broker.store.postgres import PostgresStore

        password_file = Path(settings.postgres_password_file) if settings.postgres_password_file else None
        return PostgresStore(settings.postgres_dsn, password_file, settings.postgres_pool)
    from broker.store.sqlite import SqliteStore

    return SqliteStore(settings.sqlite_path, max_bytes=settings.sqlite_limit or None)


async def serve(settings: Settings) -> None:
    """Run a broker until SIGTERM or SIGINT, then drain it.

    Raises:
        OSError: an address cannot be listened on.
        StoreUnavailable: the store cannot be opened.
    """
    stop = _stop_signal()
    store = make_store(settings)
    if not await _open(store, stop, patience=settings.drain_timeout + HANDOVER_MARGIN):
        return
    try:
        await _serve(settings, store, stop)
    finally:
        await store.close()


async def _open(store: Store, stop: asyncio.Event, patience: float) -> bool:
    """Open the store; False when told to stop instead.

    While another process holds it, wait `patience` seconds for its end: a pod's successor starts while the pod drains,
    and one that gave up would be restarted later and later.
    """
    deadline = asyncio.get_running_loop().time() + patience
    waiting = False
    while not stop.is_set():
        try:
            await store.open()
        except StoreInUse as error:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            if not waiting:
                log.warning("waiting up to %g s: %s", patience, error)
            waiting = True
        else:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), HANDOVER_POLL)
    return False


async def _serve(settings: Settings, store: Store, stop: asyncio.Event) -> None:
    metrics = Metrics()
    door = GrpcioDoor(settings.listen, ROUTES, settings.door)
    service = Service(door, store, settings.limits, metrics)

    def why_not_ready() -> str:
        janitor = service.engine.janitor
        if janitor.away_for() > STORE_GRACE:
            return f"the store has been away for {janitor.away_for():.0f} s: {janitor.trouble}"
        return "draining" if service.draining else ""

    http = HttpServer(settings.http, metrics.registry, why_not_ready)
    listen = await door.start(service.handle)
    service.start()
    http.start()
    background = [asyncio.create_task(http.beat()), asyncio.create_task(_follow_store(service))]
    metrics.info.labels(version("brokercluster"), store.name, door.name).set(1)
    # What exists now stays: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    if store.shared:
        log.warning("run one broker for each database: subscribers get live only what their own broker published")
    log.info("broker ready listen=%s http=%s store=%s door=%s", listen, http.address, store.name, door.name)

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
    await service.engine.stop()
    for task in background:
        task.cancel()
    http.stop()
    log.info("stopped")


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
