"""The configuration that Envoy starts with."""

from __future__ import annotations

from pathlib import PurePosixPath

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy.clusters import clusters
from broker_operator.render.envoy.listeners import listeners
from broker_operator.render.envoy.names import METHODS, PROXY_CLUSTER, ROUTE_CONFIG, Config, typed
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.routes import routes

MAX_CONNECTIONS = 50_000
_OWNER_ONLY = 0o600


def bootstrap(cluster: BrokerCluster, places: Places, *, routes_path: str | None = None) -> Config:
    """The bootstrap of one proxy.

    With `routes_path`, Envoy reads its routes and limits from that file (the content: `routes_file`), again each time
    the file's directory changes; nothing else in the result then depends on the spec. Without, they are part of it.
    """
    return {
        "node": {"id": "proxy", "cluster": cluster.name},
        "cluster_manager": {"local_cluster_name": PROXY_CLUSTER},
        "admin": {"address": {"pipe": {"path": places.admin_socket, "mode": _OWNER_ONLY}}},
        "stats_config": _stats_config(),
        "overload_manager": _overload_manager(),
        "static_resources": {
            "listeners": listeners(places, _route_source(cluster, routes_path)),
            "clusters": clusters(places),
        },
    }


def _route_source(cluster: BrokerCluster, path: str | None) -> Config:
    if path is None:
        return {"route_config": routes(cluster)}
    return {
        "rds": {
            "route_config_name": ROUTE_CONFIG,
            "config_source": {
                "resource_api_version": "V3",
                # A ConfigMap changes by swapping a symlink, which is seen only by watching the directory.
                "path_config_source": {
                    "path": path,
                    "watched_directory": {"path": str(PurePosixPath(path).parent)},
                },
            },
        }
    }


def _stats_config() -> Config:
    """Envoy's own tags for gRPC calls take a package for the service and put the method into the metric's name."""
    return {
        "use_all_default_tags": False,
        "stats_tags": [
            {"tag_name": "envoy.cluster_name"},
            {"tag_name": "envoy.http_conn_manager_prefix"},
            {"tag_name": "envoy.local_http_ratelimit_prefix"},
            {"tag_name": "envoy.rds_route_config"},
            {"tag_name": "envoy.response_code"},
            {"tag_name": "envoy.response_code_class"},
            {"tag_name": "grpc_service", "regex": r"^cluster\.[\w-]+\.grpc\.((broker\.Broker)\.)"},
            {
                "tag_name": "grpc_method",
                "regex": rf"^cluster\.[\w-]+\.grpc\.(?:broker\.Broker\.)(({'|'.join(METHODS)})\.)",
            },
        ],
    }


def _overload_manager() -> Config:
    name = "envoy.resource_monitors.global_downstream_max_connections"
    return {
        "resource_monitors": [
            {
                "name": name,
                "typed_config": typed(
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    max_active_downstream_connections=MAX_CONNECTIONS,
                ),
            }
        ]
    }
