"""How far a Deployment is on its way to what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_operator.status.pods import Trouble


@dataclass(frozen=True)
class Rollout:
    """Pod counts of one Deployment."""

    wanted: int
    current: int
    updated: int
    ready: int
    observed: bool
    """Whether the Deployment controller has seen the latest change."""
    trouble: Trouble | None = None

    @classmethod
    def of(cls, deployment: Mapping[str, Any] | None, *, wanted: int) -> Rollout:
        """Read a Deployment; None: it does not exist yet."""
        if deployment is None:
            return cls(wanted, current=0, updated=0, ready=0, observed=False)
        status = deployment.get("status") or {}
        return cls(
            wanted,
            current=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            observed=status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0),
            trouble=_trouble(status.get("conditions") or []),
        )

    @property
    def rolling(self) -> bool:
        """Whether pods of an older kind, or too many or too few pods, are still there."""
        return not self.observed or self.updated != self.wanted or self.current != self.wanted

    @property
    def complete(self) -> bool:
        """Whether exactly the pods that were asked for are there and ready."""
        return not self.rolling and self.ready == self.wanted

    def __str__(self) -> str:
        return f"{self.ready}/{self.wanted}"


def _trouble(conditions: list[dict[str, Any]]) -> Trouble | None:
    for condition in conditions:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Trouble("PodsRefused", f"no pod can be created: {condition.get('message', '')}")
        if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Trouble("RolloutStuck", str(condition.get("message", "the rollout takes too long")))
    return None
