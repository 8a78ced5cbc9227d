"""What a proxy tells to probes, Prometheus and the operator: on a port of its own, read-only, and nothing else.

Envoy's admin interface tells and does far more, so it listens on a unix socket only.
"""

from __future__ import annotations

from broker_operator.render.envoy.names import ADMIN_CLUSTER, BROKER_CLUSTER, ROUTER, Config, socket_address, typed
from broker_operator.render.envoy.places import Places

READY = "/ready"
"""200 while Envoy serves and does not drain."""
METRICS = "/stats/prometheus"
BROKERS = "/brokers"
"""200 while a broker is healthy."""
CONFIG = "/config"
"""Which configuration runs, and how often one was refused."""

_PARTS = r"listener_manager[.]lds|cluster_manager[.]cds|http[.].*[.]rds[.].*|extension_config_discovery[.].*|sds[.].*"
_FACTS = "version_text|update_rejected|update_failure"

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HEALTH_CHECK = "envoy.extensions.filters.http.health_check.v3.HealthCheck"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"


def listener(places: Places) -> Config:
    """The listener. It is the same for every spec, and there even when Envoy refuses the clients' listener."""
    manager = typed(
        _MANAGER,
        stat_prefix="stats",
        http_filters=[_broker_check(), {"name": ROUTER, "typed_config": typed(_ROUTER)}],
        route_config={
            "name": "stats",
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    "routes": [_admin(READY), _admin(METRICS), _config()],
                }
            ],
        },
    )
    return {
        "name": "stats",
        "address": socket_address(places.stats.host, places.stats.port),
        "ignore_global_conn_limit": True,
        # A proxy that is short of memory says so itself; probes that fail would send its clients to the others at once.
        "bypass_overload_manager": True,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _broker_check() -> Config:
    """A filter that answers by itself."""
    # One of the hundred brokers that a spec may ask for at most. Envoy takes fractions for 0.
    some = {BROKER_CLUSTER: {"value": 1}}
    return {
        "name": "envoy.filters.http.health_check",
        "typed_config": typed(
            _HEALTH_CHECK,
            pass_through_mode=False,
            headers=[_header(":path", BROKERS), _header(":method", "GET")],
            cluster_min_healthy_percentages=some,
        ),
    }


def _config() -> Config:
    """Those statistics alone. With a query one could ask for others."""
    route = _admin(CONFIG)
    route["match"]["headers"].append(_header(":path", CONFIG))
    target = f"/stats?format=json&filter=^({_PARTS})[.]({_FACTS})$"
    route["route"]["regex_rewrite"] = {"pattern": {"regex": f"^{CONFIG}$"}, "substitution": target}
    return route


def _admin(path: str) -> Config:
    return {"match": {"path": path, "headers": [_header(":method", "GET")]}, "route": {"cluster": ADMIN_CLUSTER}}


def _header(name: str, value: str) -> Config:
    return {"name": name, "string_match": {"exact": value}}
