"""The configuration that Envoy starts with, and the files that it follows from then on."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import clusters, overload, stats, web
from broker_operator.render.envoy.listeners import listeners
from broker_operator.render.envoy.names import METHODS, PROXY_CLUSTER, Config
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.routes import routes
from broker_operator.render.envoy.sources import CLUSTERS, LISTENERS, Sources

BOOTSTRAP = "envoy.json"
_OWNER_ONLY = 0o600


def whole(cluster: BrokerCluster, places: Places) -> Config:
    """Everything in one configuration, for `envoy --mode validate`, which does not look into other files."""
    sources, routing = Sources(None), web.reachable(routes(cluster, places), cluster.spec.proxy)
    resources = {
        "listeners": [*listeners(cluster, places, sources, routing), stats.listener(places)],
        "clusters": [*clusters.fixed(places), *clusters.followed(cluster, places, sources)],
        "secrets": sources.secrets,
    }
    return {**_process(cluster, places), "static_resources": resources}


def files(cluster: BrokerCluster, places: Places, directory: str) -> dict[str, Config]:
    """The files of a directory that a running Envoy follows, by name. It starts with `BOOTSTRAP`.

    The bootstrap alone is read once: of the spec it has nothing but the bounds of connections and memory.
    """
    sources, routing = Sources(directory), web.reachable(routes(cluster, places), cluster.spec.proxy)
    listening = listeners(cluster, places, sources, routing)
    brokers = clusters.followed(cluster, places, sources)
    start = {
        **_process(cluster, places),
        "static_resources": {"listeners": [stats.listener(places)], "clusters": clusters.fixed(places)},
        "dynamic_resources": {"lds_config": sources.watched(LISTENERS), "cds_config": sources.watched(CLUSTERS)},
    }
    return {BOOTSTRAP: start, **sources.files(listening, brokers, routing)}


def _process(cluster: BrokerCluster, places: Places) -> Config:
    return {
        "node": {"id": "proxy", "cluster": cluster.name},
        "cluster_manager": {"local_cluster_name": PROXY_CLUSTER},
        "admin": {"address": {"pipe": {"path": places.admin_socket, "mode": _OWNER_ONLY}}},
        "stats_config": _stats_config(),
        "overload_manager": overload.overload_manager(cluster.spec.proxy),
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
