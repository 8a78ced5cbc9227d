"""Encrypted connections: of clients to the proxy, and of the proxy to brokers."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy.names import Config
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources


def to_brokers(cluster: BrokerCluster, places: Places, sources: Sources) -> Config:
    """Fields of a cluster of brokers."""
    return {}
