"""Which broker a call goes to."""

from __future__ import annotations

from broker_operator.api import Balancing
from broker_operator.render.envoy.names import Config


def cluster_options(balancing: Balancing) -> Config:
    """Fields of a cluster of brokers."""
    return {"lb_policy": "LEAST_REQUEST"}


def filters(balancing: Balancing) -> list[Config]:
    """HTTP filters behind the one that reads subjects."""
    return []
