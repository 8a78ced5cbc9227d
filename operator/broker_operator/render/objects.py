"""The ordered list of everything a cluster consists of."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render import (
    autoscaler,
    broker_deployment,
    config_map,
    dashboard,
    disruption_budget,
    network_policy,
    permissions,
    proxy_deployment,
    service_accounts,
    service_monitors,
    services,
    volume_claim,
)
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

_BUILDERS = (
    service_accounts.build,
    volume_claim.build,
    services.build,
    config_map.build,
    permissions.build,
    broker_deployment.build,
    proxy_deployment.build,
    autoscaler.build,
    disruption_budget.build,
    network_policy.build,
    service_monitors.build,
    dashboard.build,
)


def render(cluster: BrokerCluster, settings: RenderSettings) -> list[Object]:
    """Every object of the cluster, complete, in the order to apply them. The same input gives the same output."""
    return [made for build in _BUILDERS for made in build(cluster, settings)]
