"""Names that several parts of the configuration must agree on, and small helpers."""

from __future__ import annotations

from typing import Any

BROKER_CLUSTER = "broker"
"""Calls that end soon."""
STREAM_CLUSTER = "broker-streams"
"""The same brokers for calls that stay open: their number never fills the circuit breaker of the others."""
PROXY_CLUSTER = "proxy"
ADMIN_CLUSTER = "admin"

SERVICE = "broker.Broker"
METHODS = ("Publish", "Subscribe", "Fetch", "PublishBatch", "PublishStream", "SubscribeBatch")
ROUTE_CONFIG = "broker"
LISTENER = "ingress"
"""The stat_prefix of the clients' listener; the drain script counts its connections."""

EXTRACTION = "envoy.filters.http.grpc_field_extraction"
RATE_LIMIT = "envoy.filters.http.local_ratelimit"
GRPC_STATS = "envoy.filters.http.grpc_stats"
ROUTER = "envoy.filters.http.router"

Config = dict[str, Any]


def typed(message: str, /, **fields: Any) -> Config:
    """The `typed_config` of an extension, by the name of its protobuf message."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def socket_address(host: str, port: int) -> Config:
    """An Envoy address."""
    return {"socket_address": {"address": host, "port_value": port}}
