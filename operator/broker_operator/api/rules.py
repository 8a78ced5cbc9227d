"""Rules over several fields. Each stands in the CRD schema as CEL too; here they hold without an API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker_operator.api.errors import Problem
from broker_operator.api.pods import PodSettings
from broker_operator.api.rate_limit import Client, ClientSource, Limit, RateLimit, Selection, Subject
from broker_operator.api.spec import Spec, Storage, StorageType

RESERVED_LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
)
MAX_SUBJECT_BYTES = 255


def check(spec: Spec) -> Iterator[Problem]:
    """Everything in a well-formed spec that does not fit together."""
    if spec.replicas > 1 and not spec.storage.type.shared:
        yield Problem("spec.replicas", f"storage type {spec.storage.type} allows at most 1 replica")
    yield from _storage(spec.storage)
    yield from _pods(spec.broker, "spec.broker")
    yield from _pods(spec.proxy, "spec.proxy")
    yield from _rate_limit(spec.proxy.rate_limit, "spec.proxy.rateLimit.rules")
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


def _rate_limit(rate_limit: RateLimit, path: str) -> Iterator[Problem]:
    for index, rule in enumerate(rate_limit.rules):
        at = f"{path}[{index}]"
        yield from _limit(rule.limit, f"{at}.limit")
        if rule.subject is not None:
            yield from _selection(rule.subject, f"{at}.subject")
            yield from _subject(rule.subject.value, f"{at}.subject.value")
        if rule.client is not None:
            yield from _selection(rule.client, f"{at}.client")
            yield from _client(rule.client, f"{at}.client")


def _limit(limit: Limit, path: str) -> Iterator[Problem]:
    if limit.burst is not None and limit.burst < limit.requests:
        yield Problem(f"{path}.burst", f"must be at least requests ({limit.requests}), is {limit.burst}")


def _selection(selected: Subject | Client, path: str) -> Iterator[Problem]:
    if selected.type is Selection.DISTINCT:
        if selected.value is not None:
            yield Problem(f"{path}.value", "must not be set for type Distinct")
    elif selected.value is None:
        yield Problem(f"{path}.value", "is required for type Exact")


def _subject(value: str | None, path: str) -> Iterator[Problem]:
    if value is not None and len(value.encode(errors="surrogatepass")) > MAX_SUBJECT_BYTES:
        yield Problem(path, f"must have at most {MAX_SUBJECT_BYTES} bytes in UTF-8")


def _client(client: Client, path: str) -> Iterator[Problem]:
    if client.from_ is ClientSource.HEADER and client.header is None:
        yield Problem(f"{path}.header", "is required with from: Header")
    if client.from_ is not ClientSource.HEADER and client.header is not None:
        yield Problem(f"{path}.header", "is only for from: Header")
