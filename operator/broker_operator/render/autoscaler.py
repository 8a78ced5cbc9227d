"""Who sets the number of proxies when the spec asks for that."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """A HorizontalPodAutoscaler of the proxies. Their Deployment then says no number: two would fight over it."""
    scaling = cluster.spec.proxy.autoscaling
    if scaling is None:
        return
    name = names.proxy(cluster)
    target = {"type": "Utilization", "averageUtilization": scaling.target_cpu_utilization_percentage}
    yield {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": names.metadata(cluster, settings, name, names.PROXY),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            # Of Envoy alone: what another container of the pod uses says nothing about calls.
            "metrics": [
                {
                    "type": "ContainerResource",
                    "containerResource": {"name": "cpu", "container": "envoy", "target": target},
                }
            ],
        },
    }
