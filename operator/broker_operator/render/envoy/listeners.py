"""Where clients speak to the proxy."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import access, balancing, connections, limits
from broker_operator.render.envoy.names import (
    GRPC_STATS,
    LISTENER,
    METHODS,
    ROUTER,
    SERVICE,
    Config,
    socket_address,
    typed,
)
from broker_operator.render.envoy.places import Address, Places
from broker_operator.render.envoy.sources import Sources

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def listeners(cluster: BrokerCluster, places: Places, sources: Sources, routing: Config) -> list[Config]:
    """What users change often is not here but in the routes: a changed listener cuts its streams."""
    return [_listener("grpc", places.listen, _clients(cluster, places, sources, routing))]


def _listener(name: str, at: Address, manager: Config) -> Config:
    return {
        "name": name,
        "address": socket_address(at.host, at.port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _clients(cluster: BrokerCluster, places: Places, sources: Sources, routing: Config) -> Config:
    proxy = cluster.spec.proxy
    return typed(
        _MANAGER,
        stat_prefix=LISTENER,
        codec_type="HTTP2",
        use_remote_address=True,
        generate_request_id=False,
        **connections.manager_options(proxy.connections),
        access_log=[_error_log()],
        http_filters=[
            {"name": GRPC_STATS, "typed_config": _grpc_stats()},
            *access.filters(proxy, places, sources),
            limits.extraction_filter(places.descriptor_set),
            *balancing.filters(proxy.balancing),
            limits.limit_filter(),
            {"name": ROUTER, "typed_config": typed(_ROUTER, suppress_envoy_headers=True)},
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
                    "broker": "%UPSTREAM_HOST%",
                }
            },
        ),
    }
