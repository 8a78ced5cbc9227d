"""What the Prometheus Operator scrapes."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.envoy import stats
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

KIND = "ServiceMonitor"


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One for the brokers, one for the proxies, where that kind exists."""
    if not cluster.spec.monitoring.enabled or KIND not in settings.available_kinds:
        return
    yield _monitor(cluster, settings, names.broker(cluster), names.BROKER, "http", "/metrics")
    yield _monitor(cluster, settings, names.proxy(cluster), names.PROXY, "http-stats", stats.METRICS)


def _monitor(
    cluster: BrokerCluster, settings: RenderSettings, name: str, component: str, port: str, path: str
) -> Object:
    monitoring = cluster.spec.monitoring
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": KIND,
        # Prometheus selects by labels of the user's, such as `release: prometheus`.
        "metadata": names.metadata(cluster, settings, name, component, more_labels=dict(monitoring.labels)),
        "spec": {
            "selector": {"matchLabels": names.selector(cluster, component)},
            "namespaceSelector": {"matchNames": [cluster.namespace]},
            "targetLabels": ["app.kubernetes.io/instance", "app.kubernetes.io/component"],
            "endpoints": [{"port": port, "path": path, "interval": monitoring.interval}],
        },
    }
