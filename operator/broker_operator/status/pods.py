"""Why pods are not ready, in words that help."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Raw = Mapping[str, Any]

STORE_UNAVAILABLE = "StoreUnavailable"

PATIENCE = timedelta(minutes=2)
"""How long a running pod may be not ready before that is called trouble."""

_PULL_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_DETAIL_LIMIT = 200
_CAUSE_LIMIT = 600
_NO_TROUBLE = ("", "draining", "the store is being opened")
"""What brokers say that end or begin as they should."""
_MISSING = re.compile(r'\b(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
"""What the kubelet says of a volume whose source is not there."""
_ELAPSED = re.compile(r" for \d+ s\b")
"""What each look would find changed, and what the condition's own time says."""


@dataclass(frozen=True)
class Trouble:
    """One thing that keeps a pod from being ready and that waiting may not mend."""

    reason: str
    message: str


def first_trouble(
    pods: Sequence[Raw], claims: Sequence[Raw], told: Mapping[str, str], mounts: Mapping[str, str], *, now: datetime
) -> Trouble | None:
    """The most telling trouble: causes before consequences, pods in order of their names.

    `told`: what pods themselves say of why they are not ready, by their names. `mounts`: what the kubelet says of
    volumes that cannot be mounted, by the pods' uids. A pod on its way out is no trouble.
    """
    alive = sorted(filter(_alive, pods), key=pod_name)
    if any((pod.get("status") or {}).get("phase") == "Pending" for pod in alive) and (trouble := _claims(claims)):
        return trouble
    for look in (_mounts(mounts), _image, _config, _told(told), _crash, _unschedulable, _unready):
        for pod in alive:
            if trouble := look(pod, now):
                return trouble
    return None


def is_running(pod: Raw) -> bool:
    """Whether a pod runs and is there to stay: it can be asked."""
    status = pod.get("status") or {}
    return status.get("phase") == "Running" and bool(status.get("podIP")) and _alive(pod)


def is_waiting(pod: Raw) -> bool:
    """Whether a pod has its node and its containers have not begun: volumes come first."""
    status = pod.get("status") or {}
    scheduled = _condition(pod, "PodScheduled").get("status") == "True"
    started = any("waiting" not in (one.get("state") or {}) for one in _containers(pod))
    return status.get("phase") == "Pending" and scheduled and not started and _alive(pod)


def is_ready(pod: Raw) -> bool:
    """Whether a pod is ready."""
    return bool(_condition(pod, "Ready").get("status") == "True")


def _claims(claims: Sequence[Raw]) -> Trouble | None:
    for claim in claims:
        if (claim.get("status") or {}).get("phase") != "Pending":
            continue
        name, storage_class = claim["metadata"]["name"], claim["spec"].get("storageClassName")
        if storage_class:
            return Trouble("VolumePending", f"volume claim {name} waits for a volume of storage class {storage_class}")
        return Trouble(
            "VolumePending",
            f"volume claim {name} has no storage class and no volume fits it: "
            "set spec.storage.sqlite.storageClassName, or give the cluster a default StorageClass",
        )
    return None


def _mounts(failures: Mapping[str, str]) -> Callable[[Raw, datetime], Trouble | None]:
    def look(pod: Raw, _: datetime) -> Trouble | None:
        text = failures.get(str(pod["metadata"].get("uid")), "")
        if not text or not is_waiting(pod):
            return None
        if missing := _MISSING.search(text):
            kind = "Secret" if missing[1].lower() == "secret" else "ConfigMap"
            return Trouble(f"{kind}Missing", f"{kind} {missing[2]} does not exist: pod {pod_name(pod)} waits for it")
        return Trouble("MountFailed", f"pod {pod_name(pod)} cannot mount its volumes: {_short(text, _CAUSE_LIMIT)}")

    return look


def _image(pod: Raw, _: datetime) -> Trouble | None:
    for status in _containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _PULL_REASONS:
            # The kubelet alternates between the error and the back-off that quotes it: report the error both times.
            detail = str(waiting.get("message", "")).rpartition("ErrImagePull: ")[2]
            text = f"pod {pod_name(pod)} cannot pull image {status.get('image', '')}"
            return Trouble("ImagePullFailed", f"{text}: {_short(detail)}" if detail else text)
    return None


def _config(pod: Raw, _: datetime) -> Trouble | None:
    for status in _containers(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _CONFIG_REASONS:
            text = f"container {status['name']} of pod {pod_name(pod)} cannot be started"
            return Trouble("ContainerRefused", f"{text}: {_short(str(waiting.get('message', '')))}")
    return None


def _told(causes: Mapping[str, str]) -> Callable[[Raw, datetime], Trouble | None]:
    def look(pod: Raw, _: datetime) -> Trouble | None:
        cause = _ELAPSED.sub("", causes.get(pod_name(pod), ""))
        if cause in _NO_TROUBLE:
            return None
        return Trouble(STORE_UNAVAILABLE, f"broker {pod_name(pod)} says: {_short(cause, _CAUSE_LIMIT)}")

    return look


def _crash(pod: Raw, _: datetime) -> Trouble | None:
    for status in _containers(pod):
        state, last = status.get("state") or {}, status.get("lastState") or {}
        crashed = (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
        exit_ = state.get("terminated") or last.get("terminated") or {}
        if status.get("ready") or not (crashed or exit_.get("exitCode")):
            continue
        if not exit_:
            exit_ = {"reason": "Unknown", "exitCode": "unknown"}
        text = (
            f"container {status['name']} of pod {pod_name(pod)} ended with exit code {exit_.get('exitCode')} "
            f"({exit_.get('reason', 'Error')})"
        )
        detail = _short(str(exit_.get("message", "")))
        hint = f"see kubectl logs -n {pod['metadata']['namespace']} {pod_name(pod)} -c {status['name']} --previous"
        return Trouble("CrashLoop", f"{text}: {detail}; {hint}" if detail else f"{text}; {hint}")
    return None


def _unschedulable(pod: Raw, _: datetime) -> Trouble | None:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        detail = _short(str(scheduled.get("message", "unknown reason")))
        return Trouble("Unschedulable", f"no node takes pod {pod_name(pod)}: {detail}")
    return None


def _unready(pod: Raw, now: datetime) -> Trouble | None:
    ready = _condition(pod, "Ready")
    since = ready.get("lastTransitionTime")
    if ready.get("status") != "False" or not since or now - datetime.fromisoformat(since) < PATIENCE:
        return None
    hint = f"see kubectl describe pod -n {pod['metadata']['namespace']} {pod_name(pod)}"
    return Trouble("NotReady", f"pod {pod_name(pod)} has not been ready since {since}; {hint}")


def _containers(pod: Raw) -> Iterator[Raw]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _condition(pod: Raw, type_: str) -> Raw:
    conditions: list[Raw] = (pod.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == type_), {})


def _alive(pod: Raw) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


def pod_name(pod: Raw) -> str:
    """The name of a pod."""
    return str(pod["metadata"]["name"])


def _short(text: str, limit: int = _DETAIL_LIMIT) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
