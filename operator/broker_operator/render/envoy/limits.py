"""Rate limits, per subject and in total, without any help from clients.

Envoy reads the subjects of a request's first message (`grpc_field_extraction`) and turns them into descriptors by CEL,
since the extracted value is a list, which Envoy's plain metadata action cannot read.

A request costs one token, a batch as many as it has messages; the subject of its first message pays. Envoy sees only
the first frame of a PublishStream, so opening the stream costs that frame and the rest is free.
"""

from __future__ import annotations

from broker_operator.api import Limit, RateLimit, RateLimitScope, Rule, Selection
from broker_operator.render.envoy.names import EXTRACTION, RATE_LIMIT, SERVICE, Config, typed

MAX_SUBJECTS = 10_000
"""How many subjects have a bucket of their own at a time in one proxy. Too few, and touching other subjects refills a
spent bucket."""

_LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_ONE = "subject"
_MANY = "messages.subject"
_FIELDS = {
    "Publish": _ONE,
    "Fetch": _ONE,
    "Subscribe": _ONE,
    "SubscribeBatch": _ONE,
    "PublishBatch": _MANY,
    "PublishStream": _MANY,
}
_METADATA = f"metadata.filter_metadata['{EXTRACTION}']"
_IS_BATCH = f"'{_MANY}' in {_METADATA} && size({_METADATA}['{_MANY}']) > 0"
SUBJECT = f"{_IS_BATCH} ? {_METADATA}['{_MANY}'][0] : {_METADATA}['{_ONE}'][0]"
"""CEL: the subject of a request's first message."""
_COST = f"{_IS_BATCH} ? size({_METADATA}['{_MANY}']) : 1"
_SUBJECT_KEY = "subject"
_TOTAL_KEY = "total"
_UNLIMITED = 2**32 - 1
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def extraction_filter(descriptor_set: str) -> Config:
    """The HTTP filter that reads subjects. Routes may switch it off."""
    return {
        "name": EXTRACTION,
        "typed_config": typed(
            "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
            descriptor_set={"filename": descriptor_set},
            extractions_by_method={
                f"{SERVICE}.{method}": {"request_field_extractions": {field: {}}} for method, field in _FIELDS.items()
            },
        ),
    }


def limit_filter() -> Config:
    """The HTTP filter that enforces what the routes configure."""
    return {"name": RATE_LIMIT, "typed_config": typed(_LOCAL_RATE_LIMIT, stat_prefix="broker")}


def switched_off() -> Config:
    """Per route: neither read subjects nor limit. Requests are then not held until their first message is there."""
    off = typed("envoy.config.route.v3.FilterConfig", disabled=True)
    return {EXTRACTION: off, RATE_LIMIT: off}


def limits(rate_limit: RateLimit, proxies: int) -> Config:
    """Per route: the rules, for so many proxies. One configuration for all routes, so that they share its buckets."""
    # In scope Cluster a request costs as many tokens as there are proxies, and one more while an update rolls out; a
    # smaller bucket would let nothing through, ever.
    shared = rate_limit.scope is RateLimitScope.CLUSTER and proxies > 1
    least = proxies + 1 if shared else 1
    if not rate_limit.rules:
        return switched_off()
    config = typed(
        _LOCAL_RATE_LIMIT,
        stat_prefix="broker",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        # The default status is UNAVAILABLE, which clients and proxies retry.
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        # To gRPC clients that retry by themselves: not at once.
        response_headers_to_add=[{"header": {"key": "grpc-retry-pushback-ms", "value": "1000"}}],
        max_dynamic_descriptors=MAX_SUBJECTS,
        rate_limits=_descriptors_of_a_request(rate_limit.rules),
        descriptors=[_bucket(rule, least) for rule in rate_limit.rules],
        # Envoy insists on a default bucket, for requests without a rule. It takes one token for a whole batch, so it
        # cannot be the total limit; it limits nothing.
        token_bucket={"max_tokens": _UNLIMITED, "tokens_per_fill": _UNLIMITED, "fill_interval": "1s"},
        always_consume_default_token_bucket=False,
    )
    if rate_limit.scope is RateLimitScope.CLUSTER:
        config["local_cluster_rate_limit"] = {}
    return {RATE_LIMIT: config}


def _descriptors_of_a_request(rules: tuple[Rule, ...]) -> list[Config]:
    """One for the total, one for the subject: only those that some rule wants."""
    found = []
    if any(rule.subject is None for rule in rules):
        total = {"generic_key": {"descriptor_key": _TOTAL_KEY, "descriptor_value": _TOTAL_KEY}}
        found.append({"actions": [total], "hits_addend": {"format": f"%CEL({_COST})%"}})
    if any(rule.subject is not None for rule in rules):
        subject = typed(
            "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor", descriptor_key=_SUBJECT_KEY, text=SUBJECT
        )
        action = {"extension": {"name": "envoy.rate_limit_descriptors.expr", "typed_config": subject}}
        found.append({"actions": [action], "hits_addend": {"format": f"%CEL({_COST})%"}})
    return found


def _bucket(rule: Rule, least: int) -> Config:
    """The rule's entry. Without a value it stands for every value, each with a bucket; an exact entry wins over it."""
    if rule.subject is None:
        entry = {"key": _TOTAL_KEY, "value": _TOTAL_KEY}
    elif rule.subject.type is Selection.DISTINCT:
        entry = {"key": _SUBJECT_KEY}
    else:
        entry = {"key": _SUBJECT_KEY, "value": rule.subject.value or ""}
    return {"entries": [entry], "token_bucket": _token_bucket(rule.limit, least)}


def _token_bucket(limit: Limit, least: int) -> Config:
    return {
        "max_tokens": max(limit.burst or limit.requests, least),
        "tokens_per_fill": limit.requests,
        "fill_interval": f"{limit.unit.seconds}s",
    }
