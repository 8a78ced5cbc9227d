"""How many pods a node drain may take at a time."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One broker and one proxy at a time. For a single pod there is none: it would block the drain of its node."""
    for fewest, name, component in (
        (cluster.spec.replicas, names.broker(cluster), names.BROKER),
        (cluster.spec.proxy.fewest, names.proxy(cluster), names.PROXY),
    ):
        if fewest > 1:
            yield {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": names.metadata(cluster, settings, name, component),
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.selector(cluster, component)}},
            }
