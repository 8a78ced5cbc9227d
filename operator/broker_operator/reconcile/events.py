"""Kubernetes Events: for transitions that a person wants to hear of, and for nothing else."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from broker_operator.kube import Kube, KubeError, Manifest
from broker_operator.status import Type, transitions

logger = logging.getLogger(__name__)

Raw = Mapping[str, Any]

_ALARMING = {(Type.DEGRADED, "True"), (Type.PAUSED, "True"), (Type.MONITORING_READY, "False")}
_GOOD = {(Type.READY, "True"), (Type.MONITORING_READY, "True")}


async def announce(kube: Kube, regarding: Manifest, old: Sequence[Raw], new: Sequence[Raw]) -> None:
    """Tell of what changed. An event that cannot be written is logged: the status has said it already."""
    metadata = regarding["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for warning, reason, message in tellings(old, new):
        logger.info("%s: %s", reason, message, extra={"object": f"{metadata['namespace']}/{metadata['name']}"})
        try:
            await kube.post_event(regarding, warning=warning, reason=reason, message=message, now=now)
        except KubeError as error:
            logger.warning("cannot write an event: %s", error)


def tellings(old: Sequence[Raw], new: Sequence[Raw]) -> list[tuple[bool, str, str]]:
    """What to tell: whether it is a warning, the reason, the message."""
    before = {raw["type"]: raw["status"] for raw in old}
    told = []
    for raw in transitions(old, new):
        change = (raw["type"], raw["status"])
        lost = raw["type"] == Type.READY and before.get(Type.READY) == "True"
        recovered = raw["type"] == Type.DEGRADED and before.get(Type.DEGRADED) == "True"
        if change in _ALARMING or change in _GOOD or lost or recovered:
            told.append((change in _ALARMING or lost, "Recovered" if recovered else raw["reason"], raw["message"]))
    if Type.PAUSED in before and not any(raw["type"] == Type.PAUSED for raw in new):
        told.append((False, "Resumed", "reconciliation goes on"))
    return told
