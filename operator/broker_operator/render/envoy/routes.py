"""Which call goes where, for how long, and what is tried again."""

from __future__ import annotations

from broker_operator.api import BrokerCluster
from broker_operator.render.envoy import access, headers, limits
from broker_operator.render.envoy.names import (
    BROKER_CLUSTER,
    ROUTE_CONFIG,
    SERVICE,
    STREAM_CLUSTER,
    Config,
    typed,
)

CALL_TIMEOUT = "30s"
"""The longest a call that is not a stream may take; clients set shorter deadlines themselves."""

BEFORE_SENDING = "connect-failure,refused-stream,reset-before-request"
"""No broker has seen the request, so nothing is published twice."""
READ_ONLY = f"{BEFORE_SENDING},unavailable"

FRAME_SPARE_BYTES = 128 * 1024
"""Room for the fields around a body, and more than the broker takes: it is the broker that refuses, with its reason."""
MIN_FRAME_BYTES = 4 * 1024 * 1024
"""The broker takes frames of batches so large even when bodies are small."""


def routes(cluster: BrokerCluster) -> Config:
    """The RouteConfiguration: everything that may change while streams live."""
    frame = max(MIN_FRAME_BYTES, 2 * cluster.spec.limits.max_body_bytes.bytes) + FRAME_SPARE_BYTES
    return {
        "name": ROUTE_CONFIG,
        "virtual_hosts": [
            {
                "name": ROUTE_CONFIG,
                "domains": ["*"],
                # Reading the subject holds a whole message, whatever the HTTP/2 window.
                "request_body_buffer_limit": frame,
                "typed_per_filter_config": {
                    **headers.mutations(cluster.spec.proxy),
                    **limits.limits(cluster.spec.proxy.rate_limit, cluster.spec.proxy.replicas),
                },
                "routes": [
                    _call(f"/{SERVICE}/Publish", BEFORE_SENDING),
                    _call(f"/{SERVICE}/PublishBatch", BEFORE_SENDING),
                    _call(f"/{SERVICE}/Fetch", READ_ONLY),
                    _stream(f"/{SERVICE}/Subscribe"),
                    _stream(f"/{SERVICE}/SubscribeBatch"),
                    _stream(f"/{SERVICE}/PublishStream"),
                    _open(_stream("/grpc.health.v1.Health/Watch")),
                    _open(_call("/grpc.health.v1.Health/Check", READ_ONLY)),
                    _unlimited(_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")),
                    _unlimited(_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")),
                    _unlimited(_no_such_call()),
                ],
            }
        ],
    }


def _call(path: str, retry_on: str) -> Config:
    return {
        "match": {"path": path, "grpc": {}},
        "decorator": {"operation": path.removeprefix("/")},
        "route": {
            "cluster": BROKER_CLUSTER,
            "timeout": CALL_TIMEOUT,
            "retry_policy": _retry(retry_on),
        },
    }


def _stream(path: str) -> Config:
    return {
        "match": {"path": path, "grpc": {}},
        "decorator": {"operation": path.removeprefix("/")},
        "route": {
            "cluster": STREAM_CLUSTER,
            # 0 is "never": a subscription may be silent for days. The default would end it after 15 s.
            "timeout": "0s",
            "idle_timeout": "0s",
            "retry_policy": _retry(BEFORE_SENDING),
        },
    }


def _retry(retry_on: str) -> Config:
    message = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": retry_on,
        "num_retries": 5,
        "retry_back_off": {"base_interval": "0.05s", "max_interval": "1s"},
        # Another broker where there is one: a dead one is asked until its health check has failed.
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed(message)}
        ],
        "host_selection_retry_max_attempts": "5",
    }


def _unlimited(route: Config) -> Config:
    return {**route, "typed_per_filter_config": limits.switched_off()}


def _open(route: Config) -> Config:
    """For everybody: probes have no credentials."""
    return {**route, "typed_per_filter_config": {**limits.switched_off(), **access.open_to_all()}}


def _no_such_call() -> Config:
    """To a gRPC client Envoy says 404 as UNIMPLEMENTED."""
    return {
        "match": {"prefix": "/"},
        "direct_response": {
            "status": 404,
            "body": {"inline_string": "no such call: this is a broker, see service broker.Broker"},
        },
    }
