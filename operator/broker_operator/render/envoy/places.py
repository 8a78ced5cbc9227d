"""Where a proxy listens and whom it talks to: what differs between a pod and a process on one machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A host (DNS name or IP address) and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The surroundings of one proxy."""

    listen: Address
    """Where clients come in."""
    stats: Address
    """Where probes, Prometheus and the operator ask (stats.py)."""
    quota: Address
    """Where brokers ask whether a limit has room for the messages of a frame."""
    admin_socket: str
    """The path of the unix socket of Envoy's admin interface."""
    descriptor_set: str
    """The path of the descriptor set (`broker.pb`) by which Envoy reads subjects."""
    brokers: tuple[Address, ...]
    """The brokers. A DNS name may stand for many of them."""
    proxies: tuple[Address, ...]
    """All proxies of the cluster, which share limits of scope Cluster. A DNS name may stand for many of them."""
    server_tls: str
    """The directory of the proxy's certificate: tls.crt, tls.key."""
    client_ca: str
    """The directory of the authorities of clients' certificates: ca.crt."""
    internal_tls: str | None
    """The directory of what proxies and brokers prove themselves to each other with: ca.crt, tls.crt, tls.key. None:
    they never speak TLS."""
    api_keys: str
    """The directory of the file that is made of the clients' API keys."""
    system_ca: str = "/etc/ssl/certs/ca-certificates.crt"
    """The authorities that this machine trusts, in PEM."""
