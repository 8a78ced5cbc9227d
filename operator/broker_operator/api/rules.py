"""Rules over several fields. Each stands in the CRD schema as CEL too; here they hold without an API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker_operator.api import proxy_rules
from broker_operator.api.errors import Problem
from broker_operator.api.pods import PodSettings
from broker_operator.api.spec import Spec, Storage, StorageType

RESERVED_LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
)


def check(spec: Spec) -> Iterator[Problem]:
    """Everything in a well-formed spec that does not fit together."""
    if spec.replicas > 1 and not spec.storage.type.shared:
        yield Problem("spec.replicas", f"storage type {spec.storage.type} allows at most 1 replica")
    yield from _storage(spec.storage)
    yield from _pods(spec.broker, "spec.broker")
    yield from _pods(spec.proxy, "spec.proxy")
    yield from proxy_rules.check(spec.proxy, "spec.proxy")
    yield from _reserved(spec.monitoring.labels, "spec.monitoring.labels")
    yield from _reserved(spec.monitoring.dashboards.labels, "spec.monitoring.dashboards.labels")


def _storage(storage: Storage) -> Iterator[Problem]:
    if storage.memory is not None and storage.type is not StorageType.MEMORY:
        yield Problem("spec.storage.memory", "is only for storage type Memory")
    if storage.sqlite is not None and storage.type is not StorageType.SQLITE:
        yield Problem("spec.storage.sqlite", "is only for storage type SQLite")
    if storage.postgres is not None and storage.type is not StorageType.POSTGRES:
        yield Problem("spec.storage.postgres", "is only for storage type Postgres")
    if storage.postgres is None and storage.type is StorageType.POSTGRES:
        yield Problem("spec.storage.postgres", "is required for storage type Postgres: name the Secret with the DSN")


def _pods(pods: PodSettings, path: str) -> Iterator[Problem]:
    yield from _reserved(pods.pod_labels, f"{path}.podLabels")


def _reserved(labels: Mapping[str, str], path: str) -> Iterator[Problem]:
    for name in RESERVED_LABELS:
        if name in labels:
            yield Problem(f"{path}[{name}]", "is set by the operator")
