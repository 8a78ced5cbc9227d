"""What the last pass applied, so that the next one need not send it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_operator.kube import Kind, Manifest
from broker_operator.reconcile.proxies import Proxies

Ident = tuple[Kind, str]


@dataclass(frozen=True)
class _Remembered:
    digest: bytes
    live: Manifest


class Memory:
    """The objects of one BrokerCluster as the API server returned them.

    An object whose resourceVersion is still the same has not been touched by anybody: if we would send the same again,
    there is nothing to send, and it still reads as it did. Only a shortcut: everything works without it.
    """

    def __init__(self) -> None:
        self._objects: dict[Ident, _Remembered] = {}
        self.proxies = Proxies()

    def unchanged(self, ident: Ident, manifest: Manifest, existing: Mapping[str, Any] | None) -> Manifest | None:
        """The live object, if it is as we applied it and `manifest` is what we applied."""
        known = self._objects.get(ident)
        if known is None or existing is None:
            return None
        same = existing["metadata"]["resourceVersion"] == known.live["metadata"]["resourceVersion"]
        return known.live if same and known.digest == _digest(manifest) else None

    def remember(self, ident: Ident, manifest: Manifest, live: Manifest) -> Manifest:
        """Note what was applied and what it became; returns the parts of it that a status is made of."""
        metadata = {name: value for name, value in live["metadata"].items() if name != "managedFields"}
        kept = {"kind": live["kind"], "metadata": metadata, "status": live.get("status") or {}}
        if live["kind"] == "PersistentVolumeClaim":
            kept["spec"] = live["spec"]
        if live["kind"] == "Deployment":
            kept["spec"] = {"replicas": live["spec"].get("replicas", 1)}
        self._objects[ident] = _Remembered(_digest(manifest), kept)
        return kept

    def forget(self, ident: Ident) -> None:
        """The object is gone, or nobody knows what it is like now."""
        self._objects.pop(ident, None)


def _digest(manifest: Manifest) -> bytes:
    return hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode(), digest_size=16).digest()
