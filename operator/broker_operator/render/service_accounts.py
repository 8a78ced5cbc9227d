"""ServiceAccounts: brokers and proxies never speak to the API server, so they get no token."""

from __future__ import annotations

from collections.abc import Iterator

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings


def build(cluster: BrokerCluster, settings: RenderSettings) -> Iterator[Object]:
    """One for the brokers, one for the proxies."""
    for name, component in ((names.broker(cluster), names.BROKER), (names.proxy(cluster), names.PROXY)):
        yield {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": names.metadata(cluster, settings, name, component),
            "automountServiceAccountToken": False,
        }
