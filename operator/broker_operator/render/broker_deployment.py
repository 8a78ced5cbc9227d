"""The brokers."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster, MemoryStorage, SQLiteStorage, StorageType
from broker_operator.render import names, pods
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, Object
from broker_operator.render.settings import RenderSettings

DATA_DIRECTORY = "/data"
DATABASE_PERCENT = 80
"""What of the volume the database may take; the rest is for its log and the file system. Many volumes have no limit."""
_TMP: Object = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a volume of the pod's own
_TMP_VOLUME: Object = {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One Deployment. A broker reads its options at the start, so they are arguments: a change restarts it."""
    name, broker = names.broker(cluster), cluster.spec.broker
    mounts, volumes = [_TMP], [_TMP_VOLUME]
    if cluster.spec.storage.type is StorageType.SQLITE:
        mounts.append({"name": "data", "mountPath": DATA_DIRECTORY})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": names.broker_data(cluster)}})
    container = pods.container(
        "broker",
        settings.broker_image,
        broker,
        command=["python", "-m", "broker"],
        args=_arguments(cluster),
        ports=[pods.port("grpc", GRPC_PORT), pods.port("http", HTTP_PORT)],
        volumeMounts=mounts,
        # A large database may take its time to open; until then liveness is not asked.
        startupProbe=pods.probe("http", "/livez", periodSeconds=1, timeoutSeconds=2, failureThreshold=120),
        readinessProbe=pods.probe("http", "/readyz", periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        livenessProbe=pods.probe("http", "/livez", periodSeconds=10, timeoutSeconds=5, failureThreshold=3),
    )
    yield pods.deployment(
        names.metadata(cluster, settings, name, names.BROKER),
        cluster.spec.replicas,
        # Never two side by side: the memory of one is unknown to the other, and SQLite has one writer.
        {"type": "Recreate"},
        names.selector(cluster, names.BROKER),
        pods.template(cluster, names.BROKER, broker, account=name, container=container, volumes=volumes),
    )


def _arguments(cluster: BrokerCluster) -> list[str]:
    limits = cluster.spec.limits
    return [
        f"--listen=0.0.0.0:{GRPC_PORT}",
        f"--http=0.0.0.0:{HTTP_PORT}",
        *_store_arguments(cluster),
        f"--max-body={limits.max_body_bytes.bytes}",
        f"--max-expiration={limits.max_expiration_seconds}",
        f"--max-queue-messages={limits.max_queue_messages}",
        f"--max-queue-bytes={limits.max_queue_bytes.bytes}",
        f"--max-subscriptions={limits.max_subscriptions}",
        f"--subscription-queue-bytes={limits.subscription_queue_bytes.bytes}",
        f"--cache-bytes={limits.cache_bytes.bytes}",
        f"--drain-timeout={cluster.spec.broker.drain_seconds}",
        "--log-format=json",
    ]


def _store_arguments(cluster: BrokerCluster) -> list[str]:
    storage = cluster.spec.storage
    if storage.type is StorageType.SQLITE:
        size = (storage.sqlite or SQLiteStorage()).size.bytes
        limit = size * DATABASE_PERCENT // 100
        return ["--store=sqlite", f"--sqlite-path={DATA_DIRECTORY}/broker.db", f"--sqlite-limit={limit}"]
    return ["--store=memory", f"--memory-limit={(storage.memory or MemoryStorage()).limit.bytes}"]
