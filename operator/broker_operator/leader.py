"""Leadership by a `coordination.k8s.io` Lease: of several replicas, one works.

The rules are those of Kubernetes' own components. Times are taken from this machine's monotonic clock alone: a lease is
judged by how long ago it was *seen* to change, so the clocks of machines need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from broker_operator.kube import LEASE, Conflict, Kube, KubeError, Manifest, NotFound

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTerms:
    """Which Lease, who we are in it, and its times in seconds."""

    namespace: str
    name: str
    identity: str
    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class Leadership:
    """Runs work while the Lease is ours.

    When the Lease is lost, or could not be renewed for `renew_deadline`, the work is cancelled before anyone else may
    start (`duration` is longer), and we stand in line again: an API server that was away restarts nothing.
    """

    def __init__(self, kube: Kube, terms: LeaseTerms, *, on_change: Callable[[bool], None] = lambda _: None) -> None:
        self._kube = kube
        self._terms = terms
        self._on_change = on_change
        self._seen_version = ""
        self._seen_at = float("-inf")
        self.contact: float | None = None
        """When the Lease was last read or written, on the loop's clock."""

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work whenever the Lease is ours, until cancelled. Raises what the work raises."""
        while True:
            await self._acquired()
            working = asyncio.ensure_future(work())
            renewing = asyncio.create_task(self._kept(), name="lease renewal")
            self._on_change(True)
            try:
                done, _ = await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._on_change(False)
                for task in (working, renewing):
                    task.cancel()
                await asyncio.wait((working, renewing))
            if working in done:
                return working.result()
            renewing.result()

    async def release(self) -> None:
        """Give the Lease up, so that the next one need not wait. Nothing happens if it is not ours."""
        with contextlib.suppress(KubeError):
            lease = await self._kube.get(LEASE, self._terms.namespace, self._terms.name)
            if lease["spec"].get("holderIdentity") == self._terms.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _microtime()}
                await self._kube.replace(LEASE, lease)

    async def _acquired(self) -> None:
        waiting_for = ""
        while True:
            try:
                holder = await self._try_hold(working=False)
            except KubeError as error:
                if waiting_for != "contact":
                    logger.warning("cannot reach the lease, trying every %.0f s: %s", self._terms.retry_period, error)
                    waiting_for = "contact"
            else:
                if holder == self._terms.identity:
                    logger.info("leading as %s", holder)
                    return
                if holder != waiting_for:
                    logger.info("standing by: %s leads", holder)
                    waiting_for = holder
            await asyncio.sleep(self._terms.retry_period)

    async def _kept(self) -> None:
        """Renew until that fails for too long or somebody else holds the Lease."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._terms.renew_deadline
        while True:
            await asyncio.sleep(self._terms.retry_period)
            started = loop.time()
            try:
                async with asyncio.timeout_at(deadline):
                    holder = await self._try_hold(working=True)
            except (KubeError, TimeoutError) as error:
                if loop.time() >= deadline:
                    logger.warning("lease not renewed for %.0f s: stopping work", self._terms.renew_deadline)
                    return
                logger.warning("cannot renew the lease: %s", error)
            else:
                if holder != self._terms.identity:
                    logger.warning("lost the lease to %s: stopping work", holder)
                    return
                deadline = started + self._terms.renew_deadline

    async def _try_hold(self, *, working: bool) -> str:
        """Take or renew the Lease if that is allowed; returns who holds it now."""
        loop, terms = asyncio.get_running_loop(), self._terms
        try:
            lease = await self._kube.get(LEASE, terms.namespace, terms.name)
        except NotFound:
            return await self._created()
        self.contact = loop.time()
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, loop.time()
        fresh = loop.time() < self._seen_at + float(spec.get("leaseDurationSeconds") or terms.duration)
        if holder not in ("", terms.identity) and fresh:
            return holder
        return await self._written(lease, transition=holder != terms.identity, working=working)

    async def _created(self) -> str:
        metadata = {"name": self._terms.name, "namespace": self._terms.namespace}
        lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
        lease["spec"] = self._spec({}, transition=True)
        try:
            await self._kube.create(LEASE, lease)
        except Conflict:
            return "another replica"
        return self._terms.identity

    async def _written(self, lease: Manifest, *, transition: bool, working: bool) -> str:
        lease["spec"] = self._spec(lease.get("spec") or {}, transition=transition)
        try:
            await self._kube.replace(LEASE, lease)
        except Conflict:
            # Somebody wrote since our read; the next look tells who. Who works need not stop for it: nobody may take
            # the Lease before our deadline. Who comes back to a Lease that still has its name may find it taken.
            return self._terms.identity if working and not transition else "another replica"
        return self._terms.identity

    def _spec(self, old: dict[str, Any], *, transition: bool) -> dict[str, Any]:
        now = _microtime()
        return {
            "holderIdentity": self._terms.identity,
            "leaseDurationSeconds": max(1, round(self._terms.duration)),
            "acquireTime": now if transition else old.get("acquireTime", now),
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if transition and old else 0),
        }


def _microtime() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
