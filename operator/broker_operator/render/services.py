"""Services: one for clients, one for each way of reaching brokers and proxies inside."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, PEER_PORT, Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """Clients use the first. A ServiceMonitor finds its port on exactly one Service of a component."""
    grpc, http = _port("grpc", GRPC_PORT, "kubernetes.io/h2c"), _port("http", HTTP_PORT, "http")
    stats = _port("http-stats", HTTP_PORT, "http")
    yield _clients(cluster, settings, grpc)
    yield _service(cluster, settings, names.broker(cluster), names.BROKER, {"type": "ClusterIP", "ports": [grpc, http]})
    # Proxies check the health of brokers themselves, each second; hearing of a new broker before it is ready saves the
    # seconds that DNS takes (measured after a restart: 2 s without publishes instead of 0 to 0.5 s).
    # And a broker finds its peers here, also those that only begin.
    peers = [_port("peers", PEER_PORT, "kubernetes.io/h2c")] if cluster.spec.storage.type.shared else []
    yield _headless(cluster, settings, names.broker_headless(cluster), names.BROKER, [grpc, *peers], not_ready=True)
    # Who is counted here gets a share of every limit.
    yield _headless(cluster, settings, names.proxy_headless(cluster), names.PROXY, [grpc, stats], not_ready=False)


def _clients(cluster: BrokerCluster, settings: RenderSettings, grpc: Object) -> Object:
    wanted = cluster.spec.proxy.service
    spec: Object = {"type": str(wanted.type), "ports": [grpc]}
    if wanted.external_traffic_policy:
        spec["externalTrafficPolicy"] = str(wanted.external_traffic_policy)
    service = _service(cluster, settings, cluster.name, names.PROXY, spec)
    if wanted.annotations:
        service["metadata"]["annotations"] = dict(wanted.annotations)
    return service


def _headless(
    cluster: BrokerCluster, settings: RenderSettings, name: str, component: str, ports: list[Object], *, not_ready: bool
) -> Object:
    """Its DNS name gives the addresses of the pods, of those that are not ready too if asked to."""
    spec = {"type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": not_ready, "ports": ports}
    return _service(cluster, settings, name, component, spec)


def _service(cluster: BrokerCluster, settings: RenderSettings, name: str, component: str, spec: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": names.metadata(cluster, settings, name, component),
        "spec": {**spec, "selector": names.selector(cluster, component)},
    }


def _port(name: str, number: int, protocol: str) -> Object:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP", "appProtocol": protocol}
