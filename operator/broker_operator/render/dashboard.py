"""The Grafana dashboard, in the form that Grafana's sidecar finds."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

FILE = "brokercluster.json"


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """The same dashboard for every cluster (it has a variable for that), so Grafana shows it once."""
    monitoring = cluster.spec.monitoring
    if not (monitoring.enabled and monitoring.dashboards.enabled):
        return
    wanted = {"grafana_dashboard": "1", **monitoring.dashboards.labels}
    metadata = names.metadata(cluster, settings, names.dashboard(cluster), names.MONITORING, more_labels=wanted)
    if monitoring.dashboards.annotations:
        metadata["annotations"] = dict(monitoring.dashboards.annotations)
    text = resources.files("broker_operator.render").joinpath("dashboards", FILE).read_text(encoding="utf-8")
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {FILE: text}}
