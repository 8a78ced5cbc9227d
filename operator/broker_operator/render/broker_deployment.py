"""The brokers."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import internal_tls, names, permissions, pods
from broker_operator.render.broker_store import BrokerStore, broker_store
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, Object
from broker_operator.render.settings import RenderSettings

_TMP: Object = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a volume of the pod's own
_TMP_VOLUME: Object = {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One Deployment. A broker reads its options at the start, so they are arguments: a change restarts it."""
    name, broker, store = names.broker(cluster), cluster.spec.broker, broker_store(cluster)
    container = pods.container(
        "broker",
        settings.broker_image,
        broker,
        command=["python", "-m", "broker"],
        args=_arguments(cluster, store),
        ports=[pods.port("grpc", GRPC_PORT), pods.port("http", HTTP_PORT), *store.ports],
        volumeMounts=[_TMP, permissions.MOUNT, *internal_tls.mounts(cluster), *store.mounts],
        # A large database may take its time to open; until then liveness is not asked.
        startupProbe=pods.probe("http", "/livez", periodSeconds=1, timeoutSeconds=2, failureThreshold=120),
        readinessProbe=pods.probe("http", "/readyz", periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        livenessProbe=pods.probe("http", "/livez", periodSeconds=10, timeoutSeconds=5, failureThreshold=3),
    )
    volumes = [_TMP_VOLUME, permissions.volume(cluster), *internal_tls.volumes(cluster), *store.volumes]
    yield pods.deployment(
        names.metadata(cluster, settings, name, names.BROKER),
        cluster.spec.replicas,
        store.strategy,
        names.selector(cluster, names.BROKER),
        pods.template(cluster, names.BROKER, broker, account=name, container=container, volumes=volumes),
    )


def _arguments(cluster: BrokerCluster, store: BrokerStore) -> list[str]:
    limits = cluster.spec.limits
    return [
        f"--listen=0.0.0.0:{GRPC_PORT}",
        f"--http=0.0.0.0:{HTTP_PORT}",
        *store.arguments,
        f"--max-body={limits.max_body_bytes.bytes}",
        f"--max-headers={limits.max_headers_bytes.bytes}",
        f"--max-expiration={limits.max_expiration_seconds}",
        f"--deduplication-window={limits.deduplication_window_seconds}",
        f"--max-queue-messages={limits.max_queue_messages}",
        f"--max-queue-bytes={limits.max_queue_bytes.bytes}",
        f"--max-subscriptions={limits.max_subscriptions}",
        f"--subscription-queue-bytes={limits.subscription_queue_bytes.bytes}",
        f"--cache-bytes={limits.cache_bytes.bytes}",
        f"--drain-timeout={cluster.spec.broker.drain_seconds}",
        # The NetworkPolicy lets nobody else in.
        "--trust-proxy=yes",
        permissions.ARGUMENT,
        *internal_tls.arguments(cluster),
        "--log-format=json",
    ]
