"""The proxies: Envoy in front of the brokers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal

from broker_operator.api import GROUP, BrokerCluster, Connections
from broker_operator.render import config_map, envoy, internal_tls, names, pods, proxy_secrets
from broker_operator.render.envoy import stats
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, Object
from broker_operator.render.settings import RenderSettings

DEFAULT_WORKERS = 2
"""Envoy would start one worker for each CPU of the node."""
MAX_WORKERS = 64
MAX_CONNECTIONS_ANNOTATION = f"{GROUP}/max-connections"

_STARTUP_PROBE: Object = {
    # A proxy that knows no healthy broker yet would refuse its first clients. Later a proxy stays ready without
    # brokers: a quick UNAVAILABLE tells clients more than a Service without endpoints.
    "exec": {"command": ["/usr/local/bin/started"]},
    "periodSeconds": 1,
    "timeoutSeconds": 5,
    # For a day: to restart the proxy would not bring a broker.
    "failureThreshold": 86_400,
}


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One Deployment. Running proxies follow the mounted ConfigMap, so a changed limit restarts nothing."""
    name, proxy = names.proxy(cluster), cluster.spec.proxy
    container = pods.container(
        "envoy",
        settings.proxy_image,
        proxy,
        command=["envoy"],
        args=[
            # Envoy does not take --option=value.
            *("--config-path", f"{config_map.DIRECTORY}/{envoy.BOOTSTRAP}"),
            *("--concurrency", str(_workers(proxy.resources.limits))),
            *("--log-level", "warning"),
            "--disable-hot-restart",
            # Unknown fields are passed over otherwise, with a warning.
            "--reject-unknown-dynamic-fields",
            # Over this time ever more answers of a draining proxy say GOAWAY; by then every client that calls has gone.
            *("--drain-time-s", str(max(1, proxy.drain_seconds // 2))),
        ],
        ports=[pods.port("grpc", GRPC_PORT), pods.port("http-stats", HTTP_PORT)],
        volumeMounts=[
            # The whole directory: a file mounted by subPath would never change.
            {"name": "config", "mountPath": config_map.DIRECTORY, "readOnly": True},
            {"name": "admin", "mountPath": config_map.ADMIN_DIRECTORY},
            *internal_tls.mounts(cluster),
            *proxy_secrets.mounts(proxy),
        ],
        # Envoy ends at once on SIGTERM; the drain comes before.
        lifecycle={"preStop": {"exec": {"command": ["/usr/local/bin/drain", f"--budget={proxy.drain_seconds}"]}}},
        startupProbe=_STARTUP_PROBE,
        readinessProbe=pods.probe("http-stats", stats.READY, periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        # Not /ready: a proxy that drains is alive.
        livenessProbe={"tcpSocket": {"port": "http-stats"}, "periodSeconds": 10, "failureThreshold": 3},
    )
    volumes: list[Object] = [
        {"name": "config", "configMap": {"name": config_map.name(cluster)}},
        {"name": "admin", "emptyDir": {"sizeLimit": "1Mi"}},
        *internal_tls.volumes(cluster),
        *proxy_secrets.volumes(proxy),
    ]
    yield pods.deployment(
        names.metadata(cluster, settings, name, names.PROXY),
        None if proxy.autoscaling else proxy.replicas,
        # A new proxy serves before an old one goes.
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        names.selector(cluster, names.PROXY),
        pods.template(
            cluster,
            names.PROXY,
            proxy,
            account=name,
            container=container,
            volumes=volumes,
            annotations=_read_once(proxy.connections),
            init_containers=proxy_secrets.init_containers(cluster, settings),
        ),
    )


def _read_once(connections: Connections) -> dict[str, str]:
    """Of the spec, what stands in the bootstrap: as Envoy reads that at its start only, a change must restart it.

    What is as by default is left out, so that no pod restarts when only the operator is a new one.
    """
    if connections.max_connections == Connections().max_connections:
        return {}
    return {MAX_CONNECTIONS_ANNOTATION: str(connections.max_connections)}


def _workers(limits: Mapping[str, str]) -> int:
    """As many as the CPU limit has whole or begun CPUs."""
    cpu = limits.get("cpu")
    if cpu is None:
        return DEFAULT_WORKERS
    number = Decimal(cpu.rstrip("mkMGTPEi"))
    if cpu.endswith("m"):
        number /= 1000
    elif not cpu[-1].isdigit():
        # 1k and the like: more than any machine has.
        return MAX_WORKERS
    return min(max(1, int(number.to_integral_value(ROUND_CEILING))), MAX_WORKERS)
