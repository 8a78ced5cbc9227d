"""Rules over several fields. Each stands in the CRD schema as CEL too; here they hold without an API server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker_operator.api.errors import Problem
from broker_operator.api.pods import PodSettings
from broker_operator.api.spec import Limit, RateLimit, Spec, Storage, StorageType, Subject, SubjectType

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
    seen: set[tuple[SubjectType | None, str | None]] = set()
    for index, rule in enumerate(rate_limit.rules):
        at = f"{path}[{index}]"
        yield from _limit(rule.limit, f"{at}.limit")
        if rule.subject is not None:
            yield from _subject(rule.subject, f"{at}.subject")
        key = (None, None) if rule.subject is None else (rule.subject.type, rule.subject.value)
        if key in seen:
            yield Problem(at, f"another rule limits {_named(rule.subject)} already")
        seen.add(key)


def _named(subject: Subject | None) -> str:
    if subject is None:
        return "all requests together"
    return "each subject" if subject.type is SubjectType.DISTINCT else f"the subject {subject.value!r}"


def _limit(limit: Limit, path: str) -> Iterator[Problem]:
    if limit.burst is not None and limit.burst < limit.requests:
        yield Problem(f"{path}.burst", f"must be at least requests ({limit.requests}), is {limit.burst}")


def _subject(subject: Subject, path: str) -> Iterator[Problem]:
    if subject.type is SubjectType.DISTINCT:
        if subject.value is not None:
            yield Problem(f"{path}.value", "must not be set for type Distinct")
    elif subject.value is None:
        yield Problem(f"{path}.value", "is required for type Exact")
    elif len(subject.value.encode(errors="surrogatepass")) > MAX_SUBJECT_BYTES:
        yield Problem(f"{path}.value", f"must have at most {MAX_SUBJECT_BYTES} bytes in UTF-8")
