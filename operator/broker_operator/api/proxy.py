"""The proxies in front of the brokers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from broker_operator.api.access import Authentication, Authorization, Tls
from broker_operator.api.fields import bounded, size
from broker_operator.api.pods import PodSettings, annotation_map
from broker_operator.api.quantity import Quantity
from broker_operator.api.rate_limit import RateLimit

ORIGIN = r"^(\*|https?://[A-Za-z0-9*]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?)$"


class ServiceType(StrEnum):
    """How the Service that clients use is reachable."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class ExternalTrafficPolicy(StrEnum):
    """Whether traffic from outside may take a detour over another node, which hides the client's address."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


@dataclass(frozen=True, slots=True)
class ProxyService:
    """The Service that clients use."""

    type: ServiceType = ServiceType.CLUSTER_IP
    annotations: Mapping[str, str] = annotation_map()
    external_traffic_policy: ExternalTrafficPolicy | None = None


class Balancing(StrEnum):
    """Which broker a call goes to."""

    LEAST_REQUEST = "LeastRequest"
    """One that has few calls to answer."""
    SUBJECT = "Subject"
    """The same for all calls of a subject, as long as it is healthy."""


@dataclass(frozen=True, slots=True)
class GrpcWeb:
    """Browsers may call too, by gRPC-Web; pages of which origins, and how long they may remember that (CORS)."""

    allow_origins: tuple[str, ...] = bounded((), max_items=32, unique=True, item_max_length=253, item_pattern=ORIGIN)
    """Empty: only pages of the same origin."""
    max_age_seconds: int = bounded(600, minimum=0, maximum=86400)


@dataclass(frozen=True, slots=True)
class Connections:
    """What clients may take of a proxy."""

    max_connections: int = bounded(50_000, minimum=1, maximum=1_000_000)
    """Of one proxy; more are closed as soon as they are made. A change restarts the proxies."""
    max_streams: int = bounded(20_000, minimum=1, maximum=1_000_000)
    """Calls at one time on one connection. gRPC clients queue calls above this in silence."""
    max_age_seconds: int = bounded(900, minimum=1, maximum=604_800)
    """Then a connection takes no new calls, so that clients spread over new proxies; open streams live on."""
    idle_seconds: int = bounded(3600, minimum=1, maximum=604_800)
    """A connection without calls is closed after so long."""
    keepalive_seconds: int = bounded(30, minimum=1, maximum=3600)
    """How often a silent client is pinged; one that does not answer within 10 s is gone."""
    max_header_bytes: Quantity = size("16Ki", smallest="4Ki", largest="96Ki")
    """The headers of one call; larger ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAutoscaling:
    """A HorizontalPodAutoscaler that sets the number of proxies; `replicas` counts no longer."""

    min_replicas: int = bounded(2, minimum=1, maximum=100)
    max_replicas: int = bounded(minimum=1, maximum=100)
    target_cpu_utilization_percentage: int = bounded(70, minimum=1, maximum=100)


@dataclass(frozen=True, slots=True)
class Proxy(PodSettings):
    """The proxy pods in front of the brokers."""

    replicas: int = bounded(1, minimum=0, maximum=100)
    autoscaling: ProxyAutoscaling | None = None
    service: ProxyService = ProxyService()
    balancing: Balancing = Balancing.LEAST_REQUEST
    rate_limit: RateLimit = field(default_factory=RateLimit)
    tls: Tls | None = None
    authentication: Authentication = field(default_factory=Authentication)
    authorization: Authorization = field(default_factory=Authorization)
    grpc_web: GrpcWeb | None = None
    connections: Connections = Connections()

    @property
    def fewest(self) -> int:
        """How many proxies there are at least."""
        return self.autoscaling.min_replicas if self.autoscaling else self.replicas

    @property
    def most(self) -> int:
        """How many proxies there are at most."""
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas
