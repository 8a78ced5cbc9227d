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
    """Where `GET /ready` and `GET /stats/prometheus` are answered, and nothing else."""
    admin_socket: str
    """The path of the unix socket of Envoy's admin interface."""
    descriptor_set: str
    """The path of the descriptor set (`broker.pb`) by which Envoy reads subjects."""
    brokers: tuple[Address, ...]
    """The brokers. A DNS name may stand for many of them."""
    proxies: tuple[Address, ...]
    """All proxies of the cluster, which share limits of scope Cluster. A DNS name may stand for many of them."""
