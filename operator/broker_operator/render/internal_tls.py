"""Proxies and brokers prove themselves to each other where clients speak TLS too: the Secret for it, and its use."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render import names
from broker_operator.render.names import Object
from broker_operator.render.settings import RenderSettings

DIRECTORY = "/etc/broker/internal-tls"

_VOLUME = "internal-tls"


def wanted(cluster: BrokerCluster) -> bool:
    """Whether proxies and brokers speak TLS with each other."""
    return cluster.spec.proxy.tls is not None


def hosts(cluster: BrokerCluster) -> list[str]:
    """The names in the certificate that they share: of the brokers together, and of each of them."""
    return [names.broker_host(cluster), f"*.{names.broker_host(cluster)}"]


def secret(cluster: BrokerCluster, settings: RenderSettings) -> Object | None:
    """The Secret without what is in it, which nobody can compute; None where there is none."""
    if not wanted(cluster):
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names.metadata(cluster, settings, names.internal_tls(cluster), names.PROXY),
        "type": "Opaque",
    }


def arguments(cluster: BrokerCluster) -> list[str]:
    """Options of a broker."""
    if not wanted(cluster):
        return []
    return [
        f"--tls-cert-file={DIRECTORY}/tls.crt",
        f"--tls-key-file={DIRECTORY}/tls.key",
        f"--tls-client-ca-file={DIRECTORY}/ca.crt",
    ]


def mounts(cluster: BrokerCluster) -> list[Object]:
    """Mounts of a container."""
    # The whole directory: a file mounted by subPath would never change.
    return [{"name": _VOLUME, "mountPath": DIRECTORY, "readOnly": True}] if wanted(cluster) else []


def volumes(cluster: BrokerCluster) -> list[Object]:
    """Volumes of a pod."""
    if not wanted(cluster):
        return []
    return [{"name": _VOLUME, "secret": {"secretName": names.internal_tls(cluster), "defaultMode": 0o440}}]
