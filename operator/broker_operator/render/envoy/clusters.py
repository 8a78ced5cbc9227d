"""Whom the proxy talks to: the brokers (twice), the other proxies, its own admin interface."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import access, balancing, limit_service, quota, tls
from broker_operator.render.envoy.names import (
    ADMIN_CLUSTER,
    ANSWER_CLUSTER,
    BROKER_CLUSTER,
    LIMIT_SERVICE_CLUSTER,
    PROXY_CLUSTER,
    SERVICE,
    STREAM_CLUSTER,
    Config,
    socket_address,
    typed,
)
from broker_operator.render.envoy.places import Address, Places
from broker_operator.render.envoy.sources import Sources

DNS_REFRESH = "2s"
ANSWER_WINDOW = 65_535
MAX_FRAMES = 1_000_000
"""Frames that wait to be sent to one broker."""


def fixed(places: Places) -> list[Config]:
    """The other proxies, among whom limits are divided and whom Envoy must know from its start, and the admin door."""
    return [
        {
            "name": PROXY_CLUSTER,
            **_found_by_dns(),
            "load_assignment": _assignment(PROXY_CLUSTER, places.proxies),
        },
        {
            "name": ADMIN_CLUSTER,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": ADMIN_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": places.admin_socket}}}}]}],
            },
        },
    ]


def followed(cluster: BrokerCluster, places: Places, sources: Sources) -> list[Config]:
    """What the spec may change."""
    return [
        # A call is refused, not queued without end, when this many are under way.
        _brokers(BROKER_CLUSTER, cluster, places, sources, max_requests=100_000),
        _brokers(STREAM_CLUSTER, cluster, places, sources, max_requests=1_000_000),
        *access.clusters(cluster.spec.proxy.authentication, places),
        *_limit_service(limit_service.address(cluster.spec.proxy.rate_limit), places),
    ]


def _limit_service(address: Address | None, places: Places) -> list[Config]:
    if address is None:
        return []
    return [
        {
            "name": LIMIT_SERVICE_CLUSTER,
            **_found_by_dns(),
            "connect_timeout": "2s",
            "lb_policy": "LEAST_REQUEST",
            "typed_extension_protocol_options": _http2(),
            "load_assignment": _assignment(LIMIT_SERVICE_CLUSTER, (address,)),
        },
        {
            "name": ANSWER_CLUSTER,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": ANSWER_CLUSTER,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": quota.answer_address(places)}}]}],
            },
        },
    ]


def _brokers(name: str, cluster: BrokerCluster, places: Places, sources: Sources, max_requests: int) -> Config:
    return {
        "name": name,
        **_found_by_dns(),
        "connect_timeout": "2s",
        **balancing.cluster_options(cluster.spec.proxy.balancing),
        **tls.to_brokers(cluster, places, sources),
        # A pod that left DNS is gone, also while its health check still passes.
        "ignore_health_on_host_removal": True,
        "common_lb_config": {
            # Never send to brokers that are known to be down.
            "healthy_panic_threshold": {"value": 0},
            # Envoy would gather such news for a second, which is for clusters of thousands.
            "update_merge_window": "0s",
        },
        "typed_extension_protocol_options": _http2(),
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": SERVICE},
            }
        ],
        # At most half are ejected, so never the only one.
        "outlier_detection": {"consecutive_5xx": 5, "base_ejection_time": "10s", "max_ejection_percent": 50},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": 10_000,
                    "max_pending_requests": 10_000,
                    "max_requests": max_requests,
                    # A broker that drains refuses all that is new until its health check has failed, and each of
                    # these calls is tried elsewhere. Only what no broker has begun is tried again.
                    "max_retries": max_requests,
                }
            ]
        },
        "load_assignment": _assignment(name, places.brokers),
    }


def _http2() -> Config:
    message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "connection_keepalive": {"interval": "30s", "timeout": "5s"},
        # Bytes that a broker may send ahead for a client who does not read. All such clients together must never use up
        # the connection, which is everybody's.
        "initial_stream_window_size": ANSWER_WINDOW,
        "initial_connection_window_size": 2**31 - 1,
        # A client who leaves a thousand subscriptions at once makes as many frames. By default Envoy would take that
        # for a flood and cut the connection to the broker, which is everybody's.
        "max_outbound_control_frames": MAX_FRAMES,
        "max_outbound_frames": MAX_FRAMES,
    }
    return {message: typed(message, explicit_http_config={"http2_protocol_options": options})}


def _found_by_dns() -> Config:
    """Names are asked again and again; addresses pass as they are."""
    return {
        "cluster_type": {
            "name": "envoy.clusters.dns",
            "typed_config": typed(
                "envoy.extensions.clusters.dns.v3.DnsCluster",
                dns_lookup_family="V4_PREFERRED",
                dns_refresh_rate=DNS_REFRESH,
                respect_dns_ttl=False,
            ),
        }
    }


def _assignment(name: str, addresses: tuple[Address, ...]) -> Config:
    return {
        "cluster_name": name,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": socket_address(at.host, at.port)}} for at in addresses]}
        ],
    }
