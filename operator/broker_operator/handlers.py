"""kopf, and nothing but kopf: it watches, we are woken.

kopf runs in a thread with an event loop of its own, because an embedded kopf takes over its loop: it handles the
process' signals and, when it ends, cancels every task it finds. Its handlers do no work here: they only tell which
BrokerCluster to look at. None of them needs a finalizer or writes annotations.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import kopf

from broker_operator.api import PAUSE_ANNOTATION
from broker_operator.kube import BROKER_CLUSTER, POD, Kind, load_configuration
from broker_operator.reconcile import Key
from broker_operator.reconcile import labels as made_by_us

Wake = Callable[[Key, Hashable], None]

logger = logging.getLogger(__name__)


class Watch:
    """Watches BrokerClusters and the labelled objects of the given kinds, until told to stop.

    `wake` is called in the event loop that called `run`.
    """

    def __init__(self, wake: Wake, kinds: Iterable[Kind], namespaces: Sequence[str], *, request_timeout: float) -> None:
        self._wake = wake
        self._kinds = (*kinds, POD)
        self._namespaces = namespaces
        self._request_timeout = request_timeout
        self._home = asyncio.get_running_loop()
        self.ready = threading.Event()
        self._ticked = time.monotonic()

    @property
    def silence(self) -> float:
        """For how long the watching thread has not come round, in seconds: more than a few, and it hangs."""
        return time.monotonic() - self._ticked

    async def run(self) -> None:
        """Watch until cancelled. Raises what kopf failed with, e.g. because a watched kind disappeared."""
        ended: asyncio.Future[None] = self._home.create_future()
        stop = _Stop()
        thread = threading.Thread(target=self._thread, args=(stop, ended), name="watch", daemon=True)
        thread.start()
        try:
            await asyncio.shield(ended)
        finally:
            stop.set()
            await asyncio.wait((ended,), timeout=5)

    def _thread(self, stop: _Stop, ended: asyncio.Future[None]) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._kopf(stop))
        except BaseException as caught:  # carried over to the waiting task
            error = caught
        self._call_home(_settle, ended, error)

    async def _kopf(self, stop: _Stop) -> None:
        ticking = asyncio.create_task(self._tick(), name="tick")
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=self._settings(),
                standalone=True,
                # For peering only, which we have not; kopf would ask for the user's name, and a pod's user has none.
                identity="broker-operator",  # type: ignore[arg-type] # a NewType that kopf does not export
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=stop.flag(),
                ready_flag=self.ready,
            )
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            self._ticked = time.monotonic()
            await asyncio.sleep(1)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        group, _, version = BROKER_CLUSTER.api_version.partition("/")
        kopf.on.login(registry=registry, errors=kopf.ErrorsMode.TEMPORARY, backoff=1.0)(_login)
        kopf.on.event(group, version, BROKER_CLUSTER.plural, registry=registry)(self._cluster_changed)
        for kind in self._kinds:
            group, _, version = kind.api_version.rpartition("/")
            kopf.on.event(group, version, kind.plural, registry=registry, id=f"on_{kind.plural}")(self._child_changed)
        return registry

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        for kind in self._kinds:
            group, _, version = kind.api_version.rpartition("/")
            settings.watching.label_selectors[group, version, kind.plural] = made_by_us.ALL
        settings.scanning.disabled = True  # no rights on CRDs and namespaces: optional kinds are found by discovery
        settings.posting.enabled = False
        settings.process.ultimate_exiting_timeout = None
        settings.networking.request_timeout = self._request_timeout
        settings.watching.connect_timeout = 10.0
        return settings

    async def _cluster_changed(self, meta: kopf.Meta, namespace: str | None, name: str, **_: Any) -> None:
        version = (
            meta.get("uid"),
            meta.get("generation"),
            meta.get("deletionTimestamp"),
            meta.annotations.get(PAUSE_ANNOTATION),
        )
        self._call_home(self._wake, Key(namespace or "", name), version)

    async def _child_changed(self, labels: kopf.Labels, namespace: str | None, **_: Any) -> None:
        if instance := labels.get(made_by_us.INSTANCE):
            self._call_home(self._wake, Key(namespace or "", instance), None)

    def _call_home(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._home.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the home loop has ended: nobody is left to tell
            logger.debug("nobody is left to hear of changes")


class _Stop:
    """A flag that one thread sets and kopf, in another thread's loop, waits for; in whichever order they come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event: asyncio.Event | None = None

    def flag(self) -> asyncio.Event:
        """The flag as kopf takes it, on the running loop."""
        with self._lock:
            self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()
            if self._set:
                self._event.set()
            return self._event

    def set(self) -> None:
        """Ask kopf to stop."""
        with self._lock:
            self._set = True
            if self._loop is not None and self._event is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._event.set)


def _settle(ended: asyncio.Future[None], error: BaseException | None) -> None:
    if ended.cancelled() or ended.done():
        return
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


async def _login(**_: Any) -> kopf.ConnectionInfo:
    """The same configuration as our own client's, read anew: the ServiceAccount's token rotates."""
    configuration = await load_configuration()
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, token = header.rpartition(" ")[::2]
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        scheme=scheme.capitalize() or None,
        token=token or None,
        proxy_url=configuration.proxy,
    )
