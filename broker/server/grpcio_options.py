"""The limits of a door, and its TLS, in the terms of grpc's C core."""

import grpc

from broker.server.door import Credentials, DoorLimits

_NEVER_MS = 2**31 - 1


def server_options(limits: DoorLimits) -> list[tuple[str, int]]:
    """Return the channel arguments of a server."""
    return [
        ("grpc.max_receive_message_length", limits.max_request),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_concurrent_streams", limits.max_streams),
        # Between these two, calls are refused by chance.
        ("grpc.server.max_pending_requests", limits.max_queued_calls),
        ("grpc.server.max_pending_requests_hard_limit", limits.max_queued_calls),
        # A second server on the same port must fail, not share it.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", _milliseconds(limits.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _milliseconds(limits.keepalive_timeout)),
        # What keepalive_timeout_ms is said to be; without it, a minute.
        ("grpc.http2.ping_timeout_ms", _milliseconds(limits.keepalive_timeout)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", round(limits.keepalive_min_interval * 1000)),
        ("grpc.http2.max_ping_strikes", 2 if limits.keepalive_min_interval else 0),
        # The C core adds the jitter.
        ("grpc.max_connection_age_ms", _milliseconds(limits.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(limits.max_connection_age_grace)),
    ]


class ServerTls:
    """The credentials of a server, which ask for the newest certificate with each connection."""

    def __init__(self, credentials: Credentials) -> None:
        self.set(credentials)
        self._taken = self._newest
        self.server_credentials = grpc.dynamic_ssl_server_credentials(
            self._newest, self._fetch, require_client_authentication=credentials.client_ca is not None
        )

    def set(self, credentials: Credentials) -> None:
        """Let new connections use these from now on."""
        self._newest = grpc.ssl_server_certificate_configuration(
            [(credentials.key, credentials.certificate)], root_certificates=credentials.client_ca
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration:
        # Called by threads of grpc. None stands for what it has already, which its type does not tell.
        newest = self._newest
        if newest is self._taken:
            return None  # type: ignore[return-value]
        self._taken = newest
        return newest


def _milliseconds(seconds: float) -> int:
    """0 stands for never."""
    return max(1, round(seconds * 1000)) if seconds else _NEVER_MS
