"""Browsers: they call by gRPC-Web, and only where a page's origin is allowed (CORS)."""

from __future__ import annotations

import re

from broker_operator.api import GrpcWeb, Proxy
from broker_operator.render.envoy import headers
from broker_operator.render.envoy.names import BROKER_CLUSTER, Config, typed

CORS = "envoy.filters.http.cors"
GRPC_WEB = "envoy.filters.http.grpc_web"

_STATUS = "grpc-web-status"
_EXHAUSTED = 8
_GRPC_STATUS = "response.headers['grpc-status']"
_ALLOWED = ("content-type", "x-grpc-web", "x-user-agent", "grpc-timeout", "authorization", "traceparent", "tracestate")
_EXPOSED = (
    *("grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-retry-pushback-ms"),
    *("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
)
_GRPC_OR_WEB = r"application/grpc(\+.*)?|application/grpc-web(-text)?(\+proto)?"


def codec(proxy: Proxy) -> str:
    """What a connection manager speaks: browsers may know HTTP/1.1 only."""
    return "AUTO" if proxy.grpc_web else "HTTP2"


def protocols(proxy: Proxy) -> list[str]:
    """The same in TLS (ALPN)."""
    return ["h2", "http/1.1"] if proxy.grpc_web else ["h2"]


def filters(proxy: Proxy) -> list[Config]:
    """The HTTP filters before all others, which see gRPC then. A preflight is answered before who asks is known."""
    if proxy.grpc_web is None:
        return []
    return [
        {"name": CORS, "typed_config": typed("envoy.extensions.filters.http.cors.v3.Cors")},
        _exact_status(),
        {"name": GRPC_WEB, "typed_config": typed("envoy.extensions.filters.http.grpc_web.v3.GrpcWeb")},
    ]


def _exact_status() -> Config:
    """The next filter knows the HTTP status of a refusal only and takes 429 for UNAVAILABLE, which clients retry."""
    value = f"%CEL(response.headers[':status'] == '429' ? '{_EXHAUSTED}' : {_GRPC_STATUS})%"
    change = {"append": {"header": {"key": "grpc-status", "value": value}, "append_action": "OVERWRITE_IF_EXISTS"}}
    return headers.filter_(_STATUS, response_mutations=[change])


def reachable(routing: Config, proxy: Proxy) -> Config:
    """The RouteConfiguration for browsers too: with the origins that may call, and routes that also take gRPC-Web."""
    if proxy.grpc_web is None:
        return routing
    hosts = [
        {
            **host,
            "typed_per_filter_config": {**host["typed_per_filter_config"], CORS: _policy(proxy, proxy.grpc_web)},
            "routes": [_preflight(), *({**route, "match": _either(route["match"])} for route in host["routes"])],
        }
        for host in routing["virtual_hosts"]
    ]
    return {**routing, "virtual_hosts": hosts}


def _preflight() -> Config:
    """What the CORS filter answers by itself: it does so only where a route leads somewhere."""
    names = ("origin", "access-control-request-method")
    asked: list[Config] = [{"name": ":method", "string_match": {"exact": "OPTIONS"}}]
    asked += [{"name": name, "present_match": True} for name in names]
    return {"match": {"prefix": "/", "headers": asked}, "route": {"cluster": BROKER_CLUSTER}}


def _either(match: Config) -> Config:
    """Routes are chosen before the filter turns gRPC-Web into gRPC. What is neither must not pass: no limit sees it."""
    if "grpc" not in match:
        return match
    rest = {name: value for name, value in match.items() if name != "grpc"}
    content = {"name": "content-type", "string_match": _regex(_GRPC_OR_WEB)}
    return {**rest, "headers": [*match.get("headers", []), content]}


def _policy(proxy: Proxy, grpc_web: GrpcWeb) -> Config:
    keys = proxy.authentication.api_keys
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[_origin(each) for each in grpc_web.allow_origins],
        # Otherwise those of other origins would go to a broker.
        forward_not_matching_preflights=False,
        allow_methods="POST",
        allow_headers=",".join((*_ALLOWED, *((keys.header,) if keys else ()))),
        expose_headers=",".join(_EXPOSED),
        max_age=str(grpc_web.max_age_seconds),
    )


def _origin(pattern: str) -> Config:
    """In a pattern "*" stands for any part of a host; alone, for every origin."""
    if pattern == "*":
        return _regex(".*")
    return _regex("[-a-z0-9.]*".join(map(re.escape, pattern.lower().split("*"))))


def _regex(pattern: str) -> Config:
    return {"safe_regex": {"regex": pattern}}
