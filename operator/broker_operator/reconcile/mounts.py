"""What keeps volumes from being mounted: pods do not say it, only the kubelet's events about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker_operator.kube import EVENT, Kube, Manifest

_FAILED = "reason=FailedMount,involvedObject.kind=Pod"


async def failures(kube: Kube, namespace: str, waiting: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the kubelet said last of the mounts of these pods, by the pods' uids."""
    if not waiting:
        return {}
    uids = {pod["metadata"]["uid"] for pod in waiting}
    events = sorted(await kube.find(EVENT, namespace, fields=_FAILED), key=_time)
    return {
        uid: str(event.get("message", "")) for event in events if (uid := event["involvedObject"].get("uid")) in uids
    }


def _time(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
