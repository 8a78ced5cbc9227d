"""Who a client is: proved by a certificate, a token or a key, and told to the brokers in headers of ours."""

from __future__ import annotations

from broker_operator.api import Proxy
from broker_operator.render.envoy.names import Config
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources


def filters(proxy: Proxy, places: Places, sources: Sources) -> list[Config]:
    """The HTTP filters that let only those in who prove who they are."""
    return []
