"""Who may connect to the brokers."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import GRPC_PORT, HTTP_PORT, PEER_PORT, Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One for brokers that follow each other: their own port takes brokers of this cluster only, the others everybody.

    Without that port there is nothing to keep apart.
    """
    if not cluster.spec.storage.type.shared:
        return
    brokers = {"matchLabels": names.selector(cluster, names.BROKER)}
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": names.metadata(cluster, settings, names.broker(cluster), names.BROKER),
        "spec": {
            "podSelector": brokers,
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [_port(GRPC_PORT), _port(HTTP_PORT)]},
                {"ports": [_port(PEER_PORT)], "from": [{"podSelector": brokers}]},
            ],
        },
    }


def _port(number: int) -> Object:
    return {"port": number, "protocol": "TCP"}
