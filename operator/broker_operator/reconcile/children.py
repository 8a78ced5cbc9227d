"""Bring the objects of one BrokerCluster to what was rendered: apply, prune, and touch nobody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker_operator.kube import (
    CHILD_KINDS,
    FIELD_MANAGER,
    Conflict,
    Forbidden,
    Invalid,
    Kind,
    Kube,
    KubeError,
    Manifest,
    NotFound,
    Throttled,
    Unavailable,
    kind_of,
)
from broker_operator.reconcile import labels
from broker_operator.reconcile.memory import Ident, Memory
from broker_operator.reconcile.replicas import left_to_others
from broker_operator.status import Failure

logger = logging.getLogger(__name__)


@dataclass
class Applied:
    """What became of the rendered objects."""

    objects: list[Manifest] = field(default_factory=list)
    """As they now stand."""
    failures: list[Failure] = field(default_factory=list)
    retriable: bool = False
    """Whether a failure may pass without the user changing anything."""

    def fail(self, manifest: Manifest, error: KubeError) -> None:
        """Note an object that the API server refused. The others still go their way."""
        self.failures.append(failure_of(manifest, error))
        self.retriable = self.retriable or error.retriable


class NameTakenError(KubeError):
    """An object of the name we need exists and belongs to somebody else."""


_REASONS: Mapping[type[KubeError], str] = {
    Invalid: "RefusedAsInvalid",
    Forbidden: "Forbidden",
    Conflict: "Conflict",
    NameTakenError: "NameTaken",
}


class Children:
    """The objects of one BrokerCluster, by its name, namespace and uid."""

    def __init__(self, kube: Kube, owner: Manifest, memory: Memory) -> None:
        self._kube = kube
        self._memory = memory
        self._uid = owner["metadata"]["uid"]
        self._name = owner["metadata"]["name"]
        self._namespace = owner["metadata"]["namespace"]
        self.selector = labels.of(self._name)

    async def sync(self, rendered: Sequence[Manifest], available: frozenset[Kind]) -> Applied:
        """Apply in the given order what is not so already, then delete what is ours and no longer rendered.

        Nothing is deleted after a failure: what should replace it may be missing. Raises `Unavailable` or `Throttled`
        when the API server has no ear for us at all.
        """
        existing = await self._existing(available)
        applied = Applied()
        for manifest in rendered:
            try:
                applied.objects.append(await self._brought(manifest, existing))
            except KubeError as error:
                if isinstance(error, Throttled) or (isinstance(error, Unavailable) and not error.status):
                    raise
                applied.fail(manifest, error)
        if not applied.failures:
            await self._prune(existing, {_ident(manifest) for manifest in rendered})
        return applied

    async def _existing(self, available: frozenset[Kind]) -> dict[Ident, Manifest]:
        """All objects with our labels: only their metadata."""
        kinds = [kind for kind in CHILD_KINDS if not kind.optional or kind in available]
        lists = await asyncio.gather(
            *(self._kube.find(kind, self._namespace, self.selector, metadata=True) for kind in kinds)
        )
        return {
            (kind, item["metadata"]["name"]): item for kind, items in zip(kinds, lists, strict=True) for item in items
        }

    async def _brought(self, manifest: Manifest, existing: Mapping[Ident, Manifest]) -> Manifest:
        """One object as it should be; not a request is made if it is so already."""
        ident = _ident(manifest)
        if live := self._memory.unchanged(ident, manifest, existing.get(ident)):
            return live
        self._memory.forget(ident)
        await self._refuse_theft(manifest, existing)
        await left_to_others(self._kube, ident[0], manifest)
        return self._memory.remember(ident, manifest, await self._kube.apply(manifest))

    async def _refuse_theft(self, manifest: Manifest, existing: Mapping[Ident, Manifest]) -> None:
        """Applying would quietly take over a stranger's object of the same name: look before the first time."""
        kind, name = ident = _ident(manifest)
        try:
            found = existing.get(ident) or await self._kube.get(kind, self._namespace, name)
        except NotFound:
            return
        if not self._ours(found):
            raise NameTakenError(
                f"{kind.kind} {name} exists and does not belong to this BrokerCluster: rename one of the two, "
                f"or delete the {kind.kind}",
                status=409,
            )

    async def _prune(self, existing: Mapping[Ident, Manifest], rendered: set[Ident]) -> None:
        for (kind, name), item in existing.items():
            if kind.prunable and (kind, name) not in rendered and self._controlled(item):
                cluster = f"{self._namespace}/{self._name}"
                logger.info("deleting %s %s: no longer asked for", kind.kind, name, extra={"object": cluster})
                await self._kube.delete(kind, item)
                self._memory.forget((kind, name))

    def _ours(self, item: Manifest) -> bool:
        """Controlled by us; or by nobody and with our labels (restored from a backup, or orphaned on deletion)."""
        if any(owner.get("controller") for owner in item["metadata"].get("ownerReferences") or []):
            return self._controlled(item)
        found = item["metadata"].get("labels") or {}
        return found.get(labels.INSTANCE) == self._name and found.get(labels.MANAGED_BY) == FIELD_MANAGER

    def _controlled(self, item: Manifest) -> bool:
        return controlled_by(item, self._uid)


def controlled_by(item: Manifest, uid: str) -> bool:
    """Whether the object of this uid is the controller of an object."""
    owners = item["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner["uid"] == uid for owner in owners)


def failure_of(manifest: Manifest, error: KubeError) -> Failure:
    """What to tell of an object that could not be brought to what the spec asks."""
    reason = _REASONS.get(type(error), "ApplyFailed")
    return Failure(manifest["kind"], manifest["metadata"]["name"], reason, error.message)


def _ident(manifest: Manifest) -> Ident:
    return kind_of(manifest), manifest["metadata"]["name"]
