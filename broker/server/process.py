"""One broker process: puts store, service, door and HTTP server together, runs them, and drains on SIGTERM."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version

from broker.errors import StoreUnavailable
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


def make_store(settings: Settings) -> Store:
    """Return the store that the settings name, not yet open."""
    # Imported here: a broker needs the code of one store only.
    if settings.store == "memory":
        from broker.store.memory import MemoryStore

        return MemoryStore(settings.memory_limit)
    from broker.store.sqlite import SqliteStore

    return SqliteStore(settings.sqlite_path, max_bytes=settings.sqlite_limit or None)


async def serve(settings: Settings) -> None:
    """Run a broker until SIGTERM or SIGINT, then drain it.

    Raises:
        OSError: an address cannot be listened on.
        StoreUnavailable: the store cannot be opened.
    """
    metrics = Metrics()
    store = make_store(settings)
    await store.open()
    try:
        await _serve(settings, store, metrics)
    finally:
        await store.close()


async def _serve(settings: Settings, store: Store, metrics: Metrics) -> None:
    door = GrpcioDoor(settings.listen, ROUTES, settings.door)
    service = Service(door, store, settings.limits, metrics)

    def why_not_ready() -> str:
        janitor = service.engine.janitor
        if janitor.away_for() > STORE_GRACE:
            return f"the store has been away for {janitor.away_for():.0f} s: {janitor.trouble}"
        return "" if service.health.serving else "draining"

    http = HttpServer(settings.http, metrics.registry, why_not_ready)
    stop = _stop_signal()
    listen = await door.start(service.handle)
    service.start()
    http.start()
    beat = asyncio.create_task(http.beat())
    metrics.info.labels(version("brokercluster"), store.name, door.name).set(1)
    # What exists now stays: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    log.info("broker ready listen=%s http=%s store=%s door=%s", listen, http.address, store.name, door.name)

    await stop.wait()
    log.info("draining")
    try:
        async with asyncio.timeout(settings.drain_timeout):
            await service.drain()
    except TimeoutError:
        log.error("the store did not take what was published within %g s", settings.drain_timeout)
    await door.stop(grace=settings.drain_timeout)
    await service.engine.stop()
    beat.cancel()
    http.stop()
    log.info("stopped")


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
