"""Where clients speak to the proxy, and where brokers ask it for quota."""

from __future__ import annotations

from typing import Any

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import (
    access,
    connections,
    headers,
    limit_service,
    limits,
    quota,
    subjects,
    tls,
    web,
)
from broker_operator.render.envoy.names import (
    API_KEY_HEADER,
    CERTIFICATE_HEADER,
    GRPC_STATS,
    LISTENER,
    MANAGER,
    METHODS,
    ROUTER,
    ROUTER_CONFIG,
    SERVICE,
    TOKEN_HEADER,
    Config,
    socket_address,
    typed,
)
from broker_operator.render.envoy.places import Address, Places
from broker_operator.render.envoy.sources import Sources


def listeners(cluster: BrokerCluster, places: Places, sources: Sources, routing: Config) -> list[Config]:
    """What users change often is not here but in the routes: a changed listener cuts its streams."""
    return [
        {
            **_listener(
                "grpc",
                _at(places.listen),
                _clients(cluster, places, sources, routing),
                **tls.from_clients(cluster.spec.proxy.tls, web.protocols(cluster.spec.proxy), places, sources),
                **connections.chain_options(),
            ),
            **connections.listener_options(),
        },
        {
            **_listener(
                "quota",
                _at(places.quota),
                quota.manager(cluster, places, sources, routing),
                **tls.from_brokers(cluster, places, sources),
            ),
            "ignore_global_conn_limit": True,
            "bypass_overload_manager": True,
        },
        {
            **_listener("answers", quota.answer_address(places), quota.answer_manager()),
            "ignore_global_conn_limit": True,
            "bypass_overload_manager": True,
        },
    ]


def _at(address: Address) -> Config:
    return socket_address(address.host, address.port)


def _listener(name: str, at: Config, manager: Config, **chain: Any) -> Config:
    return {
        "name": name,
        "address": at,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}], **chain}
        ],
    }


def _clients(cluster: BrokerCluster, places: Places, sources: Sources, routing: Config) -> Config:
    proxy = cluster.spec.proxy
    return typed(
        MANAGER,
        stat_prefix=LISTENER,
        codec_type=web.codec(proxy),
        use_remote_address=True,
        generate_request_id=False,
        **connections.manager_options(proxy.connections),
        early_header_mutation_extensions=headers.stripped(),
        access_log=[_error_log()],
        http_filters=[
            *web.filters(proxy),
            {"name": GRPC_STATS, "typed_config": _grpc_stats()},
            *access.filters(proxy.authentication, places, sources),
            subjects.extraction_filter(places.descriptor_set),
            headers.filter_(),
            limits.unreadable_filter(),
            limits.limit_filter(),
            limit_service.limit_service_filter(proxy.rate_limit, sources),
            {"name": ROUTER, "typed_config": typed(ROUTER_CONFIG, suppress_envoy_headers=True)},
        ],
        **sources.routes(routing),
    )


def _grpc_stats() -> Config:
    return typed(
        "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
        individual_method_stats_allowlist={"services": [{"name": SERVICE, "method_names": list(METHODS)}]},
        enable_upstream_stats=True,
    )


def _error_log() -> Config:
    """One JSON line for each call that failed by our fault. What clients do and what is refused is counted, not logged.

    UNKNOWN is left out: it is what Envoy notes when a client goes away.
    """
    return {
        "name": "envoy.access_loggers.stdout",
        "filter": {"grpc_status_filter": {"statuses": ["DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]}},
        "typed_config": typed(
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            log_format={
                "json_format": {
                    "time": "%START_TIME%",
                    "call": "%REQ(:PATH)%",
                    "status": "%GRPC_STATUS(CAMEL_STRING)%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "duration_ms": "%DURATION%",
                    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
                    "certificate": f"%REQ({CERTIFICATE_HEADER})%",
                    "token": f"%REQ({TOKEN_HEADER})%",
                    "api_key": f"%REQ({API_KEY_HEADER})%",
                    "broker": "%UPSTREAM_HOST%",
                }
            },
        ),
    }
