"""What a BrokerCluster becomes: pure functions from the parsed spec to plain Kubernetes objects."""

from broker_operator.render.internal_tls import hosts as internal_hosts
from broker_operator.render.internal_tls import secret as internal_secret
from broker_operator.render.names import BROKER, HTTP_PORT, MONITORING, PROXY, address, labels, selector
from broker_operator.render.objects import render
from broker_operator.render.settings import RenderSettings

__all__ = [
    "BROKER",
    "HTTP_PORT",
    "MONITORING",
    "PROXY",
    "RenderSettings",
    "address",
    "internal_hosts",
    "internal_secret",
    "labels",
    "render",
    "selector",
]
