"""Rate limits without any help from clients: enforced here, or asked of a service.

Envoy reads the subject of a request (`grpc_field_extraction`), so it charges every call that has one subject. Frames of
PublishBatch and PublishStream have many, and of a stream Envoy sees only the first frame: brokers charge those, by
asking the proxy that carried the call (see `quota`).
"""

from __future__ import annotations

from broker_operator.api import Balancing, Proxy, RateLimit, RateLimitScope
from broker_operator.render.envoy import descriptors, limit_service, subjects
from broker_operator.render.envoy.headers import set_header
from broker_operator.render.envoy.names import (
    EXTRACTION,
    HITS_HEADER,
    LIMIT_SERVICE,
    RATE_LIMIT,
    SERVICE,
    SUBJECT_HEADER,
    UNREADABLE,
    Config,
    typed,
)

MAX_VALUES = 10_000
"""How many subjects (clients) have a bucket of their own at a time for one rule in one proxy. Too few, and touching
others refills a spent bucket."""

_LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_OFF = typed("envoy.config.route.v3.FilterConfig", disabled=True)
_UNLIMITED = 2**32 - 1
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def limit_filter() -> Config:
    """The HTTP filter that enforces what the routes configure."""
    return {"name": RATE_LIMIT, "typed_config": typed(_LOCAL_RATE_LIMIT, stat_prefix="broker")}


def unreadable_filter() -> Config:
    """The HTTP filter that refuses, where the routes say so, calls whose subject Envoy cannot read."""
    return {"name": UNREADABLE, "typed_config": typed(_RBAC)}


def _refuse_unreadable() -> Config:
    """Per route: what Envoy takes for no protobuf, a broker may well read; it would count for no subject's limit."""
    one = "|".join(method for method, field in subjects.FIELDS.items() if field == subjects.OF_ONE)
    path = {"safe_regex": {"regex": rf"/{SERVICE.replace('.', '[.]')}/({one})"}}
    not_read = {"header": {"name": SUBJECT_HEADER, "present_match": True, "invert_match": True}}
    unread = {"and_rules": {"rules": [not_read, {"url_path": {"path": path}}]}}
    policies = {"unreadable-subject": {"permissions": [unread], "principals": [{"any": True}]}}
    return {UNREADABLE: typed(f"{_RBAC}PerRoute", rbac={"rules": {"action": "DENY", "policies": policies}})}


def noted(proxy: Proxy) -> list[Config]:
    """Mutations of a call: what is counted, and balanced, by."""
    by_subject = proxy.balancing is Balancing.SUBJECT or _by_subject(proxy.rate_limit)
    hits = [set_header(HITS_HEADER, "1")] if proxy.rate_limit.rules else []
    return [*([subjects.noted()] if by_subject else []), *hits]


def everywhere(proxy: Proxy) -> Config:
    """What holds for all calls (`typed_per_filter_config`); one for all routes, so that they share its buckets."""
    rate_limit = proxy.rate_limit
    if not rate_limit.rules:
        return _read_for_balancing_only(proxy)
    readable = _refuse_unreadable() if _by_subject(rate_limit) else {}
    if rate_limit.service is not None:
        return {**readable, RATE_LIMIT: _OFF, LIMIT_SERVICE: limit_service.questions(rate_limit)}
    return {**readable, RATE_LIMIT: _local(proxy), LIMIT_SERVICE: _OFF}


def _by_subject(rate_limit: RateLimit) -> bool:
    return any(rule.subject for rule in rate_limit.rules)


def charged_by_brokers(proxy: Proxy) -> Config:
    """Per route: calls whose frames brokers charge. They need not wait for their first frame either."""
    return _read_for_balancing_only(proxy)


def switched_off() -> Config:
    """Per route: neither read subjects nor limit. Requests are then not held until their first message is there."""
    return {EXTRACTION: _OFF, UNREADABLE: _OFF, RATE_LIMIT: _OFF, LIMIT_SERVICE: _OFF}


def _read_for_balancing_only(proxy: Proxy) -> Config:
    off = switched_off()
    if proxy.balancing is Balancing.SUBJECT:
        del off[EXTRACTION]
    return off


def _local(proxy: Proxy) -> Config:
    rate_limit, proxies = proxy.rate_limit, proxy.most
    # In scope Cluster a request costs as many tokens as there are proxies, and one more while an update rolls out; a
    # smaller bucket would let nothing through, ever.
    least = proxies + 1 if rate_limit.scope is RateLimitScope.CLUSTER and proxies > 1 else 1
    config = typed(
        _LOCAL_RATE_LIMIT,
        stat_prefix="broker",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        # The default status is UNAVAILABLE, which clients and proxies retry.
        rate_limited_as_resource_exhausted=True,
        # To our client, and to gRPC clients that retry by themselves: not at once.
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        response_headers_to_add=[{"header": {"key": "grpc-retry-pushback-ms", "value": "1000"}}],
        max_dynamic_descriptors=MAX_VALUES,
        rate_limits=descriptors.of_requests(rate_limit.rules),
        descriptors=descriptors.buckets(rate_limit.rules, least),
        # Envoy insists on a default bucket, for requests without a rule. It takes one token whatever a request costs,
        # so it cannot be the total limit; it limits nothing.
        token_bucket={"max_tokens": _UNLIMITED, "tokens_per_fill": _UNLIMITED, "fill_interval": "1s"},
        always_consume_default_token_bucket=False,
    )
    if rate_limit.scope is RateLimitScope.CLUSTER:
        config["local_cluster_rate_limit"] = {}
    return config
