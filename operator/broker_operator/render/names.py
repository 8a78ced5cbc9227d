"""Names, labels, owner: what every object of a cluster has in common."""

from __future__ import annotations

from typing import Any

from broker_operator.api import GROUP, KIND, VERSION, BrokerCluster
from broker_operator.render.settings import RenderSettings

Object = dict[str, Any]

BROKER = "broker"
PROXY = "proxy"
MONITORING = "monitoring"
MANAGER = "broker-operator"

GRPC_PORT = 50051
HTTP_PORT = 8080
PEER_PORT = 50052
"""Where brokers on one store follow each other: for nobody else."""
QUOTA_PORT = 50053
"""Where brokers ask a proxy whether a limit has room: for nobody else."""


def broker(cluster: BrokerCluster) -> str:
    """The broker Deployment, its Service, its ServiceAccount, the ConfigMap of its permissions."""
    return f"{cluster.name}-broker"


def broker_headless(cluster: BrokerCluster) -> str:
    """The Service whose DNS name gives the address of each broker."""
    return f"{cluster.name}-broker-headless"


def broker_host(cluster: BrokerCluster) -> str:
    """The DNS name of the brokers."""
    return f"{broker_headless(cluster)}.{cluster.namespace}.svc"


def internal_tls(cluster: BrokerCluster) -> str:
    """The Secret of what proxies and brokers prove themselves to each other with."""
    return f"{cluster.name}-internal-tls"


def broker_data(cluster: BrokerCluster) -> str:
    """The volume claim of the SQLite store."""
    return f"{cluster.name}-broker-data"


def proxy(cluster: BrokerCluster) -> str:
    """The proxy Deployment, its ConfigMap, its ServiceAccount."""
    return f"{cluster.name}-proxy"


def proxy_headless(cluster: BrokerCluster) -> str:
    """The Service whose DNS name gives the address of each ready proxy."""
    return f"{cluster.name}-proxy-headless"


def dashboard(cluster: BrokerCluster) -> str:
    """The ConfigMap with the Grafana dashboard."""
    return f"{cluster.name}-dashboard"


def address(cluster: BrokerCluster) -> str:
    """What clients in the same Kubernetes connect to."""
    return f"{cluster.name}.{cluster.namespace}.svc:{GRPC_PORT}"


def selector(cluster: BrokerCluster, component: str) -> dict[str, str]:
    """The labels by which pods are found. A Deployment's selector can never change: nothing may be added here."""
    return {
        "app.kubernetes.io/name": "brokercluster",
        "app.kubernetes.io/instance": cluster.name,
        "app.kubernetes.io/component": component,
    }


def labels(cluster: BrokerCluster, component: str) -> dict[str, str]:
    """The labels of every object; the operator lists by them what it made."""
    return {**selector(cluster, component), "app.kubernetes.io/managed-by": MANAGER}


def metadata(
    cluster: BrokerCluster,
    settings: RenderSettings,
    name: str,
    component: str,
    *,
    more_labels: dict[str, str] | None = None,
) -> Object:
    """The metadata of one object; it goes when the BrokerCluster goes."""
    return {
        "name": name,
        "namespace": cluster.namespace,
        "labels": {
            **(more_labels or {}),
            **labels(cluster, component),
            "app.kubernetes.io/version": settings.version,
        },
        "ownerReferences": [
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": cluster.name,
                "uid": cluster.uid,
                "controller": True,
                # True would need the right to write the owner's finalizers.
                "blockOwnerDeletion": False,
            }
        ],
    }
