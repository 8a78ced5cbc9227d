"""The labels by which the operator finds what it made; the renderer puts them on every object and pod."""

from broker_operator.kube import FIELD_MANAGER

INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"

#: Selects everything made for any BrokerCluster.
ALL = f"{MANAGED_BY}={FIELD_MANAGER}"


def of(cluster: str) -> str:
    """Selects everything made for the BrokerCluster of this name, in its namespace."""
    return f"{INSTANCE}={cluster},{ALL}"
