"""How brokers charge what a proxy cannot see: a listener of the proxy, on which they ask whether its limits have room.

A question is a call as the client might have made it, with one subject, the headers that say who the client is, and
`x-broker-cost`. It goes through the same limits, by the same routes and so with the same buckets, and its answer is
`x-broker-admitted`, or the very refusal that a client would get.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from broker_operator.api import BrokerCluster, Proxy
from broker_operator.render.envoy import headers, limit_service, limits, subjects
from broker_operator.render.envoy.headers import set_header
from broker_operator.render.envoy.names import (
    ADMITTED_HEADER,
    ANSWER_CLUSTER,
    COST_HEADER,
    HITS_HEADER,
    MANAGER,
    QUOTA_HEADER,
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
_YES: Config = {"direct_response": {"status": 200}}


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
            subjects.extraction_filter(places.descriptor_set),
            _noted(),
            limits.limit_filter(),
            limit_service.limit_service_filter(cluster.spec.proxy.rate_limit, sources),
            {"name": ROUTER, "typed_config": typed(ROUTER_CONFIG)},
        ],
        **sources.routes(routing),
    )


def _noted() -> Config:
    """A filter of another name than that of the clients' calls, which sets who the client is: here brokers say it."""
    mutations = [subjects.noted(), set_header(HITS_HEADER, f"%REQ({COST_HEADER})%")]
    return headers.filter_("brokercluster.questions", request_mutations=mutations)


def answer_manager() -> Config:
    """The HTTP connection manager behind that socket: it says yes to everything."""
    host = {"name": "answers", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **_YES}]}
    return typed(
        MANAGER,
        stat_prefix="answers",
        codec_type="HTTP1",
        http_filters=[{"name": ROUTER, "typed_config": typed(ROUTER_CONFIG)}],
        route_config={"name": "answers", "virtual_hosts": [host]},
    )


def answer_address(places: Places) -> Config:
    """Where it is: beside the socket of the admin interface."""
    return {"pipe": {"path": str(PurePosixPath(places.admin_socket).parent / "answers.sock"), "mode": 0o600}}


def told(proxy: Proxy, places: Places) -> list[Config]:
    """What brokers are told with each call: where to ask, and how; nothing where there are no limits.

    `;careful`: what is refused is counted all the same, so one is asked for first.
    """
    if not proxy.rate_limit.rules:
        return []
    careful = ";careful" if proxy.rate_limit.service else ""
    return [set_header(QUOTA_HEADER, f"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%:{places.quota.port}{careful}")]


def answer(proxy: Proxy) -> Config:
    """The route of questions, before all others. Clients cannot ask: what they send of our headers is dropped.

    Envoy asks no service about calls that go nowhere, so with one the answer comes over a socket of this very proxy.
    """
    yes = {"route": {"cluster": ANSWER_CLUSTER}} if proxy.rate_limit.service else _YES
    return {
        "match": {"prefix": "/", "headers": [{"name": COST_HEADER, "present_match": True}]},
        **yes,
        "response_headers_to_add": [{"header": {"key": ADMITTED_HEADER, "value": "1"}}],
    }
