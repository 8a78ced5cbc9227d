"""An external rate-limit service (envoy.service.ratelimit.v3), which counts instead of the proxies."""

from __future__ import annotations

from broker_operator.api import FailureMode, RateLimit
from broker_operator.render.envoy import descriptors, headers
from broker_operator.render.envoy.names import LIMIT_SERVICE, LIMIT_SERVICE_CLUSTER, Config, typed
from broker_operator.render.envoy.places import Address
from broker_operator.render.envoy.sources import Sources

_FILTER = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
_PER_ROUTE = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
_NOTHING = headers.MESSAGE
"""A filter that does nothing where it is not told what to do."""


def limit_service_filter(rate_limit: RateLimit, sources: Sources) -> Config:
    """The HTTP filter that asks the service. It is there without one too, so that to name one cuts no stream."""
    config, service = typed(_NOTHING), rate_limit.service
    if service is not None:
        closed = service.failure_mode is FailureMode.CLOSED
        config = typed(
            _FILTER,
            domain=service.domain,
            timeout=f"{service.timeout_milliseconds / 1000:g}s",
            failure_mode_deny=closed,
            # The default is UNKNOWN.
            status_on_error={"code": "ServiceUnavailable"},
            rate_limited_as_resource_exhausted=True,
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
            rate_limit_service={
                "grpc_service": {"envoy_grpc": {"cluster_name": LIMIT_SERVICE_CLUSTER}},
                "transport_api_version": "V3",
            },
        )
    return sources.http_filter(LIMIT_SERVICE, config, (_FILTER, _NOTHING))


def questions(rate_limit: RateLimit) -> Config:
    """Per route: what the service is asked."""
    return typed(_PER_ROUTE, rate_limits=descriptors.for_service(rate_limit.rules))


def address(rate_limit: RateLimit) -> Address | None:
    """Where the service is, if there is one."""
    if rate_limit.service is None:
        return None
    host, _, port = rate_limit.service.address.rpartition(":")
    return Address(host, int(port))
