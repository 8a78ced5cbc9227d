"""Who may connect to brokers and proxies: clients to proxies only, so that nobody gets around what proxies prove."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, PEER_PORT, QUOTA_PORT, Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """Two. Probes and Prometheus reach the HTTP ports from everywhere."""
    brokers, proxies = names.selector(cluster, names.BROKER), names.selector(cluster, names.PROXY)
    to_brokers = [_rule(HTTP_PORT), _rule(GRPC_PORT, only=proxies)]
    if cluster.spec.storage.type.shared:
        to_brokers.append(_rule(PEER_PORT, only=brokers))
    yield _policy(cluster, settings, names.broker(cluster), names.BROKER, to_brokers)
    to_proxies = [_rule(GRPC_PORT, HTTP_PORT), _rule(QUOTA_PORT, only=brokers)]
    yield _policy(cluster, settings, names.proxy(cluster), names.PROXY, to_proxies)


def _policy(cluster: BrokerCluster, settings: RenderSettings, name: str, component: str, rules: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(cluster, settings, name, component),
        "spec": {
            "podSelector": {"matchLabels": names.selector(cluster, component)},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    }


def _rule(*ports: int, only: dict[str, str] | None = None) -> Object:
    """These ports take connections from everybody, or from pods of this namespace with certain labels only."""
    rule: Object = {"ports": [{"port": number, "protocol": "TCP"} for number in ports]}
    return rule if only is None else {**rule, "from": [{"podSelector": {"matchLabels": only}}]}
