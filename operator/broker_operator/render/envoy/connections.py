"""What one client may take of a proxy: time and buffers of a connection."""

from __future__ import annotations

from broker_operator.api import Connections
from broker_operator.render.envoy.names import Config, typed

KEEPALIVE_TIMEOUT = "10s"
GREETING_TIMEOUT = "10s"
"""What a client may take for its handshake, and for its first bytes."""

UPLOAD_WINDOW = 256 * 1024
"""Bytes of one call that a client may send ahead; whoever reads a whole message asks for more."""
CONNECTION_WINDOW = 16 * 1024 * 1024
"""The same for all calls of a connection."""
STREAM_BUFFER = 64 * 1024
"""Bytes that wait for a client who does not read, per call, before the broker is held back."""


def listener_options() -> Config:
    """Fields of the clients' listener."""
    inspector = typed("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector")
    return {
        "per_connection_buffer_limit_bytes": STREAM_BUFFER,
        # Keepalive finds dead peers only among those who have said something. Who says nothing is closed by this: the
        # inspector waits for the first bytes.
        "listener_filters": [{"name": "envoy.filters.listener.http_inspector", "typed_config": inspector}],
        "listener_filters_timeout": GREETING_TIMEOUT,
    }


def chain_options() -> Config:
    """Fields of the clients' filter chain."""
    return {"transport_socket_connect_timeout": GREETING_TIMEOUT}


_MAX_HEADER_LIST_SIZE = 6
"""The number of this setting of HTTP/2 (RFC 9113 §6.5.2)."""


def manager_options(connections: Connections) -> Config:
    """Fields of the clients' HTTP connection manager."""
    most_headers = -(-connections.max_header_bytes.bytes // 1024)
    return {
        # Streams are silent as long as they like; dead peers are found by the keepalive below.
        "stream_idle_timeout": "0s",
        "request_headers_timeout": "10s",
        "max_request_headers_kb": most_headers,
        "common_http_protocol_options": {
            "max_connection_duration": f"{connections.max_age_seconds}s",
            "idle_timeout": f"{connections.idle_seconds}s",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": connections.max_streams,
            "initial_stream_window_size": UPLOAD_WINDOW,
            "initial_connection_window_size": CONNECTION_WINDOW,
            # Envoy resets a call with more headers, without a word. Clients of gRPC who know the limit refuse to send
            # such a call, and say why.
            "custom_settings_parameters": [{"identifier": _MAX_HEADER_LIST_SIZE, "value": most_headers * 1024}],
            "connection_keepalive": {"interval": f"{connections.keepalive_seconds}s", "timeout": KEEPALIVE_TIMEOUT},
        },
    }
