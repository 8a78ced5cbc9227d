"""What the storage type makes of the brokers' pods: options, volumes, and how new pods take over from old ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker_operator.api import BrokerCluster, MemoryStorage, PostgresStorage, SQLiteStorage, StorageType
from broker_operator.render import names, pods
from broker_operator.render.names import PEER_PORT, Object

DATA_DIRECTORY = "/data"
DATABASE_PERCENT = 80
"""What of the volume the database may take; the rest is for its log and the file system. Many volumes have no limit."""
SECRET_DIRECTORY = "/etc/broker/postgres"  # noqa: S105 - where it is, not what it is
STORE_WAIT = 1_000_000_000
"""Seconds that a broker waits for a database that cannot be used: for ever. Meanwhile it says why not, and begins by
itself as soon as it can; a restart would not bring the database sooner."""

ONE_AFTER_THE_OTHER: Object = {"type": "Recreate"}
"""Never two side by side: the memory of one is unknown to the other, and SQLite has one writer."""
SIDE_BY_SIDE: Object = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
"""A new broker serves before an old one goes."""


@dataclass(frozen=True, slots=True)
class BrokerStore:
    """One storage type's part of the broker Deployment."""

    arguments: list[str]
    strategy: Object
    mounts: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    ports: list[Object] = field(default_factory=list)


def broker_store(cluster: BrokerCluster) -> BrokerStore:
    """The part of the storage type that the spec asks for."""
    storage = cluster.spec.storage
    if storage.type is StorageType.POSTGRES and storage.postgres is not None:
        return _postgres(cluster, storage.postgres)
    if storage.type is StorageType.SQLITE:
        return _sqlite(cluster, storage.sqlite or SQLiteStorage())
    memory = storage.memory or MemoryStorage()
    return BrokerStore(["--store=memory", f"--memory-limit={memory.limit.bytes}"], ONE_AFTER_THE_OTHER)


def _sqlite(cluster: BrokerCluster, sqlite: SQLiteStorage) -> BrokerStore:
    limit = sqlite.size.bytes * DATABASE_PERCENT // 100
    return BrokerStore(
        ["--store=sqlite", f"--sqlite-path={DATA_DIRECTORY}/broker.db", f"--sqlite-limit={limit}"],
        ONE_AFTER_THE_OTHER,
        mounts=[{"name": "data", "mountPath": DATA_DIRECTORY}],
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": names.broker_data(cluster)}}],
    )


def _postgres(cluster: BrokerCluster, postgres: PostgresStorage) -> BrokerStore:
    secret = postgres.dsn_secret_ref
    return BrokerStore(
        [
            "--store=postgres",
            f"--postgres-dsn-file={SECRET_DIRECTORY}/{secret.key}",
            f"--postgres-pool={postgres.pool_size}",
            f"--store-wait={STORE_WAIT}",
            # The name without a domain is the first one that a pod's resolver tries.
            f"--peers=dns:///{names.broker_headless(cluster)}:{PEER_PORT}",
            f"--peer-listen=0.0.0.0:{PEER_PORT}",
        ],
        SIDE_BY_SIDE,
        # The whole directory: a file mounted by subPath would never change.
        mounts=[{"name": "postgres", "mountPath": SECRET_DIRECTORY, "readOnly": True}],
        volumes=[
            {
                "name": "postgres",
                # Optional: without it the broker starts and says what it lacks, and sees the Secret once it is there. A
                # pod that is not started says so in Kubernetes Events only.
                "secret": {"secretName": secret.name, "optional": True, "defaultMode": 0o440},
            }
        ],
        ports=[pods.port("peers", PEER_PORT)],
    )
