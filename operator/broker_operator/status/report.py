"""The whole `.status` of a BrokerCluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from broker_operator.api import SpecError
from broker_operator.status import conditions
from broker_operator.status.condition import Condition, Type, merged
from broker_operator.status.observed import Failure, Observed

CLIENT_PORT = 50051

Raw = Mapping[str, Any]


def report(old: Raw, seen: Observed) -> dict[str, Any]:
    """The status after a full pass."""
    cluster = seen.cluster
    return {
        "observedGeneration": cluster.generation,
        "replicas": seen.brokers.current,
        "readyReplicas": seen.brokers.ready,
        "brokers": str(seen.brokers),
        "proxies": str(seen.proxies),
        "store": cluster.spec.storage.type.value,
        "address": f"{cluster.name}.{cluster.namespace}.svc:{CLIENT_PORT}",
        **({"proxyConfig": seen.proxy_configs.shown()} if seen.proxy_configs.wanted else {}),
        "selector": f"app.kubernetes.io/instance={cluster.name},app.kubernetes.io/component=broker",
        "conditions": merged(
            old.get("conditions") or [], conditions.all_of(seen), generation=cluster.generation, now=_time(seen.now)
        ),
    }


def invalid(old: Raw, error: SpecError, *, generation: int, now: str) -> dict[str, Any]:
    """The status when the spec says something impossible: what runs goes on, and nothing is applied."""
    text = str(error)
    news = [
        Condition(Type.READY, "False", "InvalidSpec", text),
        Condition(Type.PROGRESSING, "False", "InvalidSpec", "waiting for a valid spec"),
        Condition(Type.DEGRADED, "True", "InvalidSpec", text),
        Condition(Type.RESOURCES_SYNCED, "False", "InvalidSpec", "nothing is applied until the spec is valid"),
    ]
    changed = merged(old.get("conditions") or [], news, generation=generation, now=now)
    return {**old, "observedGeneration": generation, "conditions": _beside(old, changed, drop={Type.PAUSED})}


def held_up(old: Raw, failure: Failure, *, generation: int, now: str) -> dict[str, Any]:
    """The status when what pods need cannot be made: what runs goes on, and nothing is applied."""
    text = str(failure)
    news = [
        Condition(Type.READY, "False", failure.reason, text),
        Condition(Type.DEGRADED, "True", failure.reason, text),
        Condition(Type.RESOURCES_SYNCED, "False", failure.reason, f"nothing is applied without it: {text}"),
    ]
    changed = merged(old.get("conditions") or [], news, generation=generation, now=now)
    return {**old, "observedGeneration": generation, "conditions": _beside(old, changed, drop={Type.PAUSED})}


def paused(old: Raw, *, annotation: str, generation: int, now: str) -> dict[str, Any]:
    """The status while the user asks for hands off: as it was, and that it may be out of date."""
    text = f"nothing is read or changed while the annotation {annotation} is true"
    news = Condition(Type.PAUSED, "True", "PausedByAnnotation", text)
    changed = merged(old.get("conditions") or [], [news], generation=generation, now=now)
    return {**old, "conditions": _beside(old, changed)}


def _beside(old: Raw, changed: list[dict[str, Any]], drop: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The changed conditions and those of before that they do not replace, in the order in which they are shown."""
    replaced = {raw["type"] for raw in changed} | set(drop)
    kept = [dict(raw) for raw in old.get("conditions") or [] if raw["type"] not in replaced]
    order = {type_.value: place for place, type_ in enumerate(Type)}
    return sorted([*changed, *kept], key=lambda raw: order.get(raw["type"], len(order)))


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
