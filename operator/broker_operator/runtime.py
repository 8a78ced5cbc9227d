"""The operator put together: leadership around a watch around workers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from importlib.metadata import version as distribution_version

from broker_operator.api import BrokerCluster
from broker_operator.handlers import Watch
from broker_operator.inquiry import Inquiry
from broker_operator.kube import BROKER_CLUSTER, CHILD_KINDS, Kube, KubeError, Manifest, load_configuration
from broker_operator.leader import Leadership, LeaseTerms
from broker_operator.metrics import Metrics
from broker_operator.probes import Probes
from broker_operator.reconcile import Pace, Reconciler, Workers
from broker_operator.reconcile.internal_tls import InternalTls
from broker_operator.reconcile.kinds import Available
from broker_operator.render import HTTP_PORT, RenderSettings, internal_hosts, internal_secret, render
from broker_operator.settings import Settings

VERSION = distribution_version("brokercluster")

_SILENCE_LIMIT = 60.0
"""Seconds after which a watch that does not come round is taken for hanging."""

logger = logging.getLogger(__name__)


class Operator:
    """One replica of the operator. `run` it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics(VERSION)
        self._watch: Watch | None = None
        self._leadership: Leadership | None = None
        self._leading = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then give the Lease back. Raises `RuntimeError` without a way to the API server."""
        settings = self._settings
        async with Kube(await load_configuration(), request_timeout=settings.request_timeout) as kube:
            probes = Probes(self._metrics, live=self._hanging, ready=self._unready)
            host, port = await probes.start(*settings.http)
            logger.info("operator %s started, http=%s:%s", VERSION, host, port)
            try:
                await _until(stop, self._work_as_leader(kube))
            finally:
                if self._leadership:
                    await self._leadership.release()
                await probes.stop()
        logger.info("operator stopped")

    async def _work_as_leader(self, kube: Kube) -> None:
        settings = self._settings
        if not settings.leader_election:
            self._led(True)
            await self._work(kube)
            return
        terms = LeaseTerms(
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=settings.identity,
            duration=settings.lease_duration,
            renew_deadline=settings.renew_deadline,
            retry_period=settings.retry_period,
        )
        self._leadership = Leadership(kube, terms, on_change=self._led)
        await self._leadership.run(lambda: self._work(kube))

    async def _work(self, kube: Kube) -> None:
        """Look after all BrokerClusters until cancelled."""
        settings = self._settings
        available = Available(kube)
        async with Inquiry(HTTP_PORT) as inquiry:
            secrets = InternalTls(kube, internal_hosts)
            reconciler = Reconciler(kube, inquiry, self._render, available, self._metrics, self._secret, secrets)
            pace = Pace(resync=settings.resync, backoff_limit=settings.backoff_limit)
            workers = Workers(reconciler, pace=pace, concurrency=settings.concurrency, metrics=self._metrics)
            watching = asyncio.create_task(self._watch_always(kube, workers, available), name="watches")
            try:
                await asyncio.wait((watching,))
                watching.result()
            finally:
                # First those who write: the Lease may be somebody else's soon. kopf takes its time to end.
                await workers.stop()
                await _cancelled(watching)

    async def _watch_always(self, kube: Kube, workers: Workers, available: Available) -> None:
        while True:
            try:
                await self._watch_once(kube, workers, available)
            except Exception as error:  # kopf's errors have no common type; watching anew is the answer to all
                logger.warning("the watch ended: %s: %s", type(error).__name__, error)
                await asyncio.sleep(_jittered(2.0))

    async def _watch_once(self, kube: Kube, workers: Workers, available: Available) -> None:
        """Watch until an optional kind comes or goes. Watching anew lists, and so wakes, everything."""
        settings = self._settings
        await available.refresh()
        if not await kube.serves(BROKER_CLUSTER):
            raise LookupError(f"the API server does not know {BROKER_CLUSTER.plural}: is the CRD installed?")
        kinds = [kind for kind in CHILD_KINDS if not kind.optional or kind in available.kinds]
        self._watch = Watch(workers.wake, kinds, settings.namespaces, request_timeout=settings.request_timeout)
        watching = asyncio.create_task(self._watch.run(), name="watch")
        changing = asyncio.create_task(self._kinds_changed(available), name="discovery")
        try:
            await asyncio.wait((watching, changing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(watching, changing)
            self._watch = None
        if not watching.cancelled():
            watching.result()

    async def _kinds_changed(self, available: Available) -> None:
        """Return when an optional kind came or went."""
        while True:
            await asyncio.sleep(_jittered(self._settings.discovery))
            try:
                if await available.refresh():
                    logger.info("optional kinds at hand now: %s", ", ".join(sorted(available.names)) or "none")
                    return
            except KubeError as error:
                logger.warning("cannot discover kinds: %s", error)

    def _render(self, cluster: BrokerCluster, kinds: frozenset[str]) -> list[Manifest]:
        return render(cluster, self._render_settings(kinds))

    def _secret(self, cluster: BrokerCluster) -> Manifest | None:
        return internal_secret(cluster, self._render_settings(frozenset()))

    def _render_settings(self, kinds: frozenset[str]) -> RenderSettings:
        settings = self._settings
        return RenderSettings(
            broker_image=settings.broker_image,
            proxy_image=settings.proxy_image,
            version=VERSION,
            available_kinds=kinds,
        )

    def _led(self, leading: bool) -> None:
        self._leading = leading
        self._metrics.leader.set(leading)

    def _hanging(self) -> list[str]:
        """That this answers at all shows that our own loop runs; the watch has one of its own."""
        silence = self._watch.silence if self._watch else 0.0
        return [f"the watch has been silent for {silence:.0f} s"] if silence > _SILENCE_LIMIT else []

    def _unready(self) -> list[str]:
        """Ready: watching, or standing by with the Lease in sight."""
        if self._leading:
            return [] if self._watch and self._watch.ready.is_set() else ["not watching yet"]
        contact = self._leadership.contact if self._leadership else None
        if contact is None or asyncio.get_running_loop().time() - contact > 3 * self._settings.renew_deadline:
            return ["the lease is out of reach"]
        return []


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Run the work until it ends or `stop` is set. Raises what the work raises."""
    working = asyncio.create_task(work, name="work")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(working, stopping)
    if not working.cancelled():
        working.result()


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not a secret
