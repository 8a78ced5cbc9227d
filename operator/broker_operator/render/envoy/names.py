"""Names that several parts of the configuration must agree on, and small helpers."""

from __future__ import annotations

from typing import Any

BROKER_CLUSTER = "broker"
"""Calls that end soon."""
STREAM_CLUSTER = "broker-streams"
"""The same brokers for calls that stay open: their number never fills the circuit breaker of the others."""
PROXY_CLUSTER = "proxy"
ADMIN_CLUSTER = "admin"
ANSWER_CLUSTER = "answers"
LIMIT_SERVICE_CLUSTER = "rate-limit-service"

SERVICE = "broker.Broker"
METHODS = ("Publish", "Subscribe", "Fetch", "PublishBatch", "PublishStream", "SubscribeBatch")
ROUTE_CONFIG = "broker"
LISTENER = "ingress"
"""The stat_prefix of the clients' listener; the drain script counts its connections."""

OWN_HEADERS = "x-broker-"
"""What begins so is between proxies and brokers; from clients it is dropped."""
ADDRESS_HEADER = "x-broker-address"
"""The client's IP address."""
CLIENT_HEADER = "x-broker-client"
"""The value of the header by which rules of rate limits tell clients (`from: Header`)."""
CERTIFICATE_HEADER = "x-broker-certificate"
"""The identity in the client's certificate."""
TOKEN_HEADER = "x-broker-token"  # noqa: S105 - a header's name
"""The subject of the client's JWT."""
API_KEY_HEADER = "x-broker-api-key"
"""The name of the client's API key."""
QUOTA_HEADER = "x-broker-quota"
"""Where a broker asks this proxy for quota, IP:PORT, and how: see `quota.told`; only while there are rules."""
SUBJECT_HEADER = "x-broker-subject"
"""The subject that the proxy read, for what counts or balances by it; it does not tell brokers anything."""
HITS_HEADER = "x-broker-hits"
"""How many requests a call counts as."""
COST_HEADER = "x-broker-cost"
"""In such a question: how many requests it is about."""
RETRY_HEADER = "x-broker-retry"
"""From brokers: `elsewhere` in a refusal says that nothing was done, and that another broker may be asked."""

ADMITTED_HEADER = "x-broker-admitted"
"""In its answer: there is room."""

EXTRACTION = "envoy.filters.http.grpc_field_extraction"
RATE_LIMIT = "envoy.filters.http.local_ratelimit"
LIMIT_SERVICE = "envoy.filters.http.ratelimit"
UNREADABLE = "envoy.filters.http.rbac"
GRPC_STATS = "envoy.filters.http.grpc_stats"
ROUTER = "envoy.filters.http.router"
ROUTER_CONFIG = "envoy.extensions.filters.http.router.v3.Router"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

Config = dict[str, Any]


def typed(message: str, /, **fields: Any) -> Config:
    """The `typed_config` of an extension, by the name of its protobuf message."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def socket_address(host: str, port: int) -> Config:
    """An Envoy address."""
    return {"socket_address": {"address": host, "port_value": port}}
