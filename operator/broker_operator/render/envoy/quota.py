"""How brokers charge what a proxy cannot see: a listener of the proxy, on which they ask whether its limits have room.

A question is a call as the client might have made it, with one subject, the headers that say who the client is, and
`x-broker-cost`. It goes through the same limits, by the same routes and so with the same buckets, and its answer is
`x-broker-admitted`, or the very refusal that a client would get.
"""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import limit_service, limits
from broker_operator.render.envoy.names import (
    ADMITTED_HEADER,
    COST_HEADER,
    MANAGER,
    ROUTER,
    ROUTER_CONFIG,
    Config,
    typed,
)
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources

MAX_QUESTION_BYTES = 8 * 1024
"""A subject has at most 255 bytes."""

_IDLE = "60s"


def manager(cluster: BrokerCluster, places: Places, sources: Sources, routing: Config) -> Config:
    """The HTTP connection manager of the brokers' listener."""
    buffer = typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=MAX_QUESTION_BYTES)
    return typed(
        MANAGER,
        stat_prefix="quota",
        codec_type="HTTP1",
        generate_request_id=False,
        common_http_protocol_options={"idle_timeout": _IDLE},
        http_filters=[
            # An answer before the question was read to its end would close the connection.
            {"name": "envoy.filters.http.buffer", "typed_config": buffer},
            limits.extraction_filter(places.descriptor_set),
            limits.limit_filter(),
            limit_service.limit_service_filter(cluster.spec.proxy.rate_limit, sources),
            {"name": ROUTER, "typed_config": typed(ROUTER_CONFIG)},
        ],
        **sources.routes(routing),
    )


def answer() -> Config:
    """The route of questions, before all others. Clients cannot ask: what they send of our headers is dropped."""
    return {
        "match": {"prefix": "/", "headers": [{"name": COST_HEADER, "present_match": True}]},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": ADMITTED_HEADER, "value": "1"}}],
    }
