"""The pod fields that brokers and proxies have in common, as in a PodSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from broker_operator.api.fields import bounded, text_map

LABEL_VALUE = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
RESOURCE_AMOUNT = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[mkMGTPE])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


def label_map() -> Any:
    """A field of labels."""
    return text_map(max_length=63, pattern=LABEL_VALUE)


def annotation_map() -> Any:
    """A field of annotations."""
    return text_map(max_length=4096)


def _amounts(**defaults: str) -> Any:
    made: Any = text_map(max_properties=16, max_length=32, pattern=RESOURCE_AMOUNT, int_or_string=True, minimum=0)
    return field(default_factory=lambda: dict(defaults), metadata=made.metadata)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for and at most gets."""

    requests: Mapping[str, str] = _amounts(cpu="100m", memory="128Mi")
    limits: Mapping[str, str] = _amounts()


class TolerationOperator(StrEnum):
    """How a toleration matches."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint the pods tolerate."""

    key: str | None = bounded(None, max_length=316)
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: str | None = bounded(None, max_length=63, pattern=LABEL_VALUE)
    effect: TaintEffect | None = None
    toleration_seconds: int | None = bounded(None, minimum=0, maximum=2**31 - 1)


class Unsatisfiable(StrEnum):
    """What to do with a pod that cannot be spread."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


@dataclass(frozen=True, slots=True)
class TopologySpread:
    """How the pods spread over zones or nodes; it always selects the pods of the same component."""

    topology_key: str = bounded(min_length=1, max_length=316)
    max_skew: int = bounded(1, minimum=1, maximum=100)
    when_unsatisfiable: Unsatisfiable = Unsatisfiable.SCHEDULE_ANYWAY
    min_domains: int | None = bounded(None, minimum=1, maximum=100)


@dataclass(frozen=True, slots=True)
class Affinity:
    """As in a PodSpec; Kubernetes checks the inside."""

    node_affinity: Mapping[str, Any] | None = bounded(None, free=True, max_properties=32)
    pod_affinity: Mapping[str, Any] | None = bounded(None, free=True, max_properties=32)
    pod_anti_affinity: Mapping[str, Any] | None = bounded(None, free=True, max_properties=32)


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret of the same namespace with the credentials of an image registry."""

    name: str = bounded(min_length=1, max_length=253, pattern=DNS_NAME)


@dataclass(frozen=True, slots=True)
class PodSettings:
    """How the pods of one component look and where they run."""

    image: str | None = bounded(None, min_length=1, max_length=512)
    image_pull_secrets: tuple[PullSecret, ...] = bounded((), max_items=8, key="name")
    resources: Resources = Resources()
    node_selector: Mapping[str, str] = label_map()
    tolerations: tuple[Toleration, ...] = bounded((), max_items=32)
    affinity: Affinity | None = None
    topology_spread_constraints: tuple[TopologySpread, ...] = bounded((), max_items=8)
    priority_class_name: str | None = bounded(None, min_length=1, max_length=253, pattern=DNS_NAME)
    pod_labels: Mapping[str, str] = label_map()
    pod_annotations: Mapping[str, str] = annotation_map()
    drain_seconds: int = bounded(25, minimum=1, maximum=3600)
