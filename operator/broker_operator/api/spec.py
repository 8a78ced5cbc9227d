"""The spec of a BrokerCluster. Names, defaults and bounds are those of the CRD schema; a test holds them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from broker_operator.api.fields import bounded, size
from broker_operator.api.pods import DNS_NAME, PodSettings, annotation_map, label_map
from broker_operator.api.proxy import Proxy
from broker_operator.api.quantity import Quantity

INT32_MAX = 2**31 - 1


class StorageType(StrEnum):
    """Where messages are kept."""

    MEMORY = "Memory"
    SQLITE = "SQLite"
    POSTGRES = "Postgres"

    @property
    def shared(self) -> bool:
        """Whether several brokers may use one store."""
        return self is StorageType.POSTGRES


@dataclass(frozen=True, slots=True)
class MemoryStorage:
    """The broker's memory: gone when the pod goes."""

    limit: Quantity = size("256Mi", smallest="1Mi", largest="64Gi")


@dataclass(frozen=True, slots=True)
class SQLiteStorage:
    """A database file on a volume of its own."""

    size: Quantity = size("1Gi", smallest="16Mi", largest="64Ti")
    storage_class_name: str | None = bounded(None, max_length=253, pattern=f"^$|{DNS_NAME}")


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value of a Secret in the namespace of the BrokerCluster."""

    name: str = bounded(min_length=1, max_length=253, pattern=DNS_NAME)
    key: str = bounded("uri", min_length=1, max_length=253, pattern="^[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")


@dataclass(frozen=True, slots=True)
class PostgresStorage:
    """A database in a PostgreSQL server that somebody else runs."""

    dsn_secret_ref: SecretKey
    pool_size: int = bounded(8, minimum=2, maximum=100)


@dataclass(frozen=True, slots=True)
class Storage:
    """The store of the brokers."""

    type: StorageType = StorageType.SQLITE
    memory: MemoryStorage | None = None
    sqlite: SQLiteStorage | None = None
    postgres: PostgresStorage | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one broker takes before it refuses."""

    max_body_bytes: Quantity = size("1Mi", smallest="1", largest="64Mi")
    max_headers_bytes: Quantity = size("8Ki", smallest="1", largest="64Ki")
    max_expiration_seconds: int = bounded(604800, minimum=1, maximum=INT32_MAX)
    deduplication_window_seconds: int = bounded(120, minimum=0, maximum=3600)
    max_subscriptions: int = bounded(10000, minimum=1, maximum=1_000_000)
    max_queue_messages: int = bounded(100_000, minimum=1, maximum=10_000_000)
    max_queue_bytes: Quantity = size("64Mi", smallest="1Mi", largest="16Gi")
    subscription_queue_bytes: Quantity = size("1Mi", smallest="1Ki", largest="1Gi")
    cache_bytes: Quantity = size("32Mi", smallest="1Ki", largest="64Gi")


@dataclass(frozen=True, slots=True)
class Broker(PodSettings):
    """The broker pods."""


@dataclass(frozen=True, slots=True)
class Dashboards:
    """The Grafana dashboard as a ConfigMap that Grafana's sidecar finds."""

    enabled: bool = True
    labels: Mapping[str, str] = label_map()
    annotations: Mapping[str, str] = annotation_map()


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What Prometheus and Grafana get."""

    enabled: bool = True
    labels: Mapping[str, str] = label_map()
    interval: str = bounded("30s", max_length=8, pattern="^[1-9][0-9]{0,4}(s|m)$")
    dashboards: Dashboards = field(default_factory=Dashboards)


@dataclass(frozen=True, slots=True)
class Spec:
    """All that a user says about a BrokerCluster."""

    replicas: int = bounded(1, minimum=0, maximum=100)
    storage: Storage = Storage()
    limits: Limits = Limits()
    broker: Broker = field(default_factory=Broker)
    proxy: Proxy = field(default_factory=Proxy)
    monitoring: Monitoring = field(default_factory=Monitoring)
