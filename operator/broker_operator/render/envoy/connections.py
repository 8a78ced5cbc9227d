"""What one client may take of a proxy, and all of them together."""

from __future__ import annotations

from broker_operator.api import Connections
from broker_operator.render.envoy.names import Config, typed

KEEPALIVE_TIMEOUT = "10s"


def manager_options(connections: Connections) -> Config:
    """Fields of the clients' HTTP connection manager."""
    return {
        # Streams are silent as long as they like; dead peers are found by the keepalive below.
        "stream_idle_timeout": "0s",
        "request_headers_timeout": "10s",
        "max_request_headers_kb": -(-connections.max_header_bytes.bytes // 1024),
        "common_http_protocol_options": {
            "max_connection_duration": f"{connections.max_age_seconds}s",
            "idle_timeout": f"{connections.idle_seconds}s",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": connections.max_streams,
            "connection_keepalive": {"interval": f"{connections.keepalive_seconds}s", "timeout": KEEPALIVE_TIMEOUT},
        },
    }


def overload_manager(connections: Connections) -> Config:
    """The bounds of the whole process. Part of the bootstrap: only a restart changes them."""
    name = "envoy.resource_monitors.global_downstream_max_connections"
    monitor = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    most = typed(monitor, max_active_downstream_connections=connections.max_connections)
    return {"resource_monitors": [{"name": name, "typed_config": most}]}
