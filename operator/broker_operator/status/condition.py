"""Conditions as Kubernetes knows them, and how they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]
Raw = Mapping[str, Any]

_MESSAGE_LIMIT = 1024


class Type(StrEnum):
    """The conditions of a BrokerCluster, in the order in which they are shown."""

    READY = "Ready"
    """Clients can publish and subscribe, and everything the spec asks for is in place."""
    PROGRESSING = "Progressing"
    """Pods are being started or replaced, or proxies take over a changed configuration."""
    DEGRADED = "Degraded"
    """Something is wrong that does not pass by itself."""
    RESOURCES_SYNCED = "ResourcesSynced"
    """Every object that the spec asks for is applied."""
    STORE_REACHABLE = "StoreReachable"
    """A broker's store answers."""
    PROXY_READY = "ProxyReady"
    """A proxy takes connections, and none refuses its configuration."""
    MONITORING_READY = "MonitoringReady"
    """What Prometheus and Grafana need is in place."""
    PAUSED = "ReconciliationPaused"
    """The user asked for hands off; present only then."""


@dataclass(frozen=True)
class Condition:
    """One statement about a BrokerCluster: what, why (one word), and in words that help."""

    type: Type
    status: Status
    reason: str
    message: str


def merged(old: Iterable[Raw], new: Iterable[Condition], *, generation: int, now: str) -> list[dict[str, Any]]:
    """The new conditions as the API wants them; the last transition's time stays unless the status changed."""
    before = {raw["type"]: raw for raw in old}
    return [
        {
            "type": condition.type.value,
            "status": condition.status,
            "observedGeneration": generation,
            "lastTransitionTime": _since(before.get(condition.type), condition, now),
            "reason": condition.reason,
            "message": condition.message[:_MESSAGE_LIMIT],
        }
        for condition in new
    ]


def transitions(old: Iterable[Raw], new: Iterable[Raw]) -> list[Raw]:
    """The new conditions whose status differs from before."""
    before = {raw["type"]: raw["status"] for raw in old}
    return [raw for raw in new if before.get(raw["type"]) != raw["status"]]


def _since(old: Raw | None, condition: Condition, now: str) -> str:
    if old is not None and old["status"] == condition.status:
        return str(old.get("lastTransitionTime") or now)
    return now
