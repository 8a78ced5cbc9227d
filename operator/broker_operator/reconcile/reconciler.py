"""One pass over one BrokerCluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from broker_operator.api import PAUSE_ANNOTATION, BrokerCluster, SpecError, parse
from broker_operator.inquiry import Inquiry
from broker_operator.kube import BROKER_CLUSTER, POD, Kube, KubeError, Manifest, NotFound, Throttled, Unavailable
from broker_operator.metrics import Metrics
from broker_operator.reconcile import mounts
from broker_operator.reconcile.children import Applied, Children, failure_of
from broker_operator.reconcile.events import announce
from broker_operator.reconcile.internal_tls import InternalTls
from broker_operator.reconcile.kinds import Available
from broker_operator.reconcile.memory import Memory
from broker_operator.reconcile.proxies import Proxies
from broker_operator.reconcile.schedule import Outcome, Result
from broker_operator.reconcile.workers import Key
from broker_operator.status import Failure, Observed, held_up, invalid, paused, report

logger = logging.getLogger(__name__)

Render = Callable[[BrokerCluster, frozenset[str]], Sequence[Manifest]]
"""From a parsed cluster and the names of the optional kinds at hand to its objects, in the order to apply them."""

Secret = Callable[[BrokerCluster], Manifest | None]
"""From a parsed cluster to its Secret of internal TLS without what is in it; None where there is none."""

LOOK_AGAIN = 10.0
"""Seconds after which pods that are not ready are asked about again: no event tells that the reason has changed."""
CONFIG_LOOK_AGAIN = 2.0
"""The same for proxies to which a changed configuration is on its way: the kubelet tells nobody when it is there."""


class Reconciler:
    """Makes the cluster match a BrokerCluster, and its status tell the truth. Knows nothing of when.

    A pass is idempotent and starts from what exists: any pass may be cut short at any point.
    """

    def __init__(
        self,
        kube: Kube,
        inquiry: Inquiry,
        render: Render,
        available: Available,
        metrics: Metrics,
        secret: Secret,
        internal_tls: InternalTls,
    ) -> None:
        self._kube = kube
        self._inquiry = inquiry
        self._render = render
        self._available = available
        self._metrics = metrics
        self._secret = secret
        self._internal_tls = internal_tls
        self._memories: dict[Key, Memory] = {}

    async def __call__(self, key: Key) -> Outcome:
        """Run one pass."""
        try:
            return await self._pass(key)
        except Throttled as error:
            logger.warning("the API server asks to slow down: %s", error, extra={"object": str(key)})
            return Outcome(Result.FAILED, retry_after=error.retry_after)
        except KubeError as error:
            logger.warning("pass failed: %s", error, extra={"object": str(key)})
            return Outcome(Result.FAILED)

    async def _pass(self, key: Key) -> Outcome:
        try:
            live = await self._kube.get(BROKER_CLUSTER, key.namespace, key.name)
        except NotFound:
            self._memories.pop(key, None)
            return Outcome(Result.GONE)
        metadata, old = live["metadata"], live.get("status") or {}
        if metadata.get("deletionTimestamp"):  # somebody else's finalizer; owner references do the rest
            return Outcome(Result.PAUSED)
        generation, now = metadata["generation"], _rfc3339(datetime.now(UTC))
        if (metadata.get("annotations") or {}).get(PAUSE_ANNOTATION) == "true":
            await self._write(live, paused(old, annotation=PAUSE_ANNOTATION, generation=generation, now=now))
            return Outcome(Result.PAUSED)
        try:
            cluster = parse(live)
        except SpecError as error:
            await self._write(live, invalid(old, error, generation=generation, now=now))
            return Outcome(Result.INVALID)
        if failure := await self._without_secret(cluster):
            logger.warning("%s: %s", failure.reason, failure, extra={"object": str(key)})
            await self._write(live, held_up(old, failure, generation=generation, now=now))
            return Outcome(Result.FAILED)
        return await self._synced(live, cluster)

    async def _without_secret(self, cluster: BrokerCluster) -> Failure | None:
        """See to the Secret that pods mount; returns why it is not there. Pods would wait for it in vain."""
        empty = self._secret(cluster)
        if empty is None:
            return None
        try:
            await self._internal_tls.ensure(cluster, empty)
        except (Throttled, Unavailable):
            raise
        except KubeError as error:
            return failure_of(empty, error)
        return None

    async def _synced(self, live: Manifest, cluster: BrokerCluster) -> Outcome:
        memory = self._memories.setdefault(Key(cluster.namespace, cluster.name), Memory())
        children = Children(self._kube, live, memory)
        kinds = self._available.kinds  # discovery goes on during the pass: one answer for all of it
        names = frozenset(kind.kind for kind in kinds)
        applied = await children.sync(self._render(cluster, names), kinds)
        seen = await self._seen(cluster, applied, names, children.selector, memory.proxies)
        await self._write(live, report(live.get("status") or {}, seen))
        for failure in applied.failures:
            logger.warning("%s: %s", failure.reason, failure, extra={"object": f"{cluster.namespace}/{cluster.name}"})
        if not applied.failures:
            return Outcome(Result.SYNCED, look_again=_look_again(seen))
        return Outcome(Result.FAILED if applied.retriable else Result.INVALID)

    async def _seen(
        self, cluster: BrokerCluster, applied: Applied, kinds: frozenset[str], selector: str, proxies: Proxies
    ) -> Observed:
        """Pods are read only while something moves: brokers tell why they are not ready, proxies what they run."""
        seen = Observed(
            cluster=cluster,
            now=datetime.now(UTC),
            objects=tuple(applied.objects),
            failures=tuple(applied.failures),
            monitors_available="ServiceMonitor" in kinds,
        )
        settled = proxies.settled(seen)
        if settled and seen.brokers.complete and seen.proxies.complete:
            return replace(seen, proxy_configs=settled)
        seen = replace(seen, pods=tuple(await self._kube.find(POD, cluster.namespace, selector)))
        causes, configs, failed = await asyncio.gather(
            self._inquiry.causes(seen.unready_brokers),
            proxies.look(self._kube, self._inquiry, seen),
            mounts.failures(self._kube, cluster.namespace, seen.waiting_pods),
        )
        return replace(seen, causes=causes, proxy_configs=configs, mount_failures=failed)

    async def _write(self, live: Manifest, status: dict[str, Any]) -> None:
        """Write the status if it says anything new, then tell of what changed."""
        metadata, old = live["metadata"], live.get("status") or {}
        conditions = status["conditions"]
        self._metrics.conditions(
            metadata["namespace"], metadata["name"], {raw["type"]: raw["status"] for raw in conditions}
        )
        if status == old:
            return
        identity = {key: metadata[key] for key in ("name", "namespace", "uid")}
        body = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": identity, "status": status}
        await self._kube.apply_status(BROKER_CLUSTER, body)
        await announce(self._kube, live, old.get("conditions") or [], conditions)


def _look_again(seen: Observed) -> float:
    if seen.proxy_configs.behind:
        return CONFIG_LOOK_AGAIN
    silent = seen.unready_brokers or seen.waiting_pods or seen.proxy_configs.refused or seen.proxy_configs.unknown
    return LOOK_AGAIN if silent else 0.0


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
