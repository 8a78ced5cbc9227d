"""How much clients may send: the rules of the proxies' rate limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker_operator.api.fields import bounded

HEADER_NAME = "^[a-z0-9][-a-z0-9_]*$"
HOST_AND_PORT = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:[1-9][0-9]{0,4}$"


class Method(StrEnum):
    """The calls of the service."""

    PUBLISH = "Publish"
    PUBLISH_BATCH = "PublishBatch"
    PUBLISH_STREAM = "PublishStream"
    FETCH = "Fetch"
    SUBSCRIBE = "Subscribe"
    SUBSCRIBE_BATCH = "SubscribeBatch"


class Selection(StrEnum):
    """Which values a rule is for."""

    EXACT = "Exact"
    """The one value that the rule names."""
    DISTINCT = "Distinct"
    """Every value, each with a limit of its own."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Exact: the one subject `value`. Distinct: every subject, each with a limit of its own."""

    type: Selection
    value: str | None = bounded(None, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")


class ClientSource(StrEnum):
    """By what one client is told from another."""

    ADDRESS = "Address"
    """The address that the connection comes from."""
    HEADER = "Header"
    """The value of a request header, which must come from something trusted in front: a client may send any."""
    CERTIFICATE = "Certificate"
    """The client's certificate: its URI, else DNS name, else subject."""
    TOKEN = "Token"  # noqa: S105 - not a password
    """The subject of the client's JWT."""
    API_KEY = "APIKey"
    """The name that the client's API key has in its Secret."""


@dataclass(frozen=True, slots=True)
class Client:
    """Exact: the one client `value`. Distinct: every client, each with a limit of its own."""

    type: Selection
    from_: ClientSource
    value: str | None = bounded(None, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
    header: str | None = bounded(None, min_length=1, max_length=63, pattern=HEADER_NAME)


class Unit(StrEnum):
    """The time in which `requests` are allowed."""

    SECOND = "Second"
    MINUTE = "Minute"
    HOUR = "Hour"

    @property
    def seconds(self) -> int:
        """The unit in seconds."""
        return {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600}[self]


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in a unit of time; after a pause up to `burst` at once (by default `requests`)."""

    requests: int = bounded(minimum=1, maximum=10_000_000)
    unit: Unit = Unit.SECOND
    burst: int | None = bounded(None, minimum=1, maximum=100_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A limit for the calls that fit `subject`, `client` and `methods`; what is absent fits every call."""

    name: str = bounded(min_length=1, max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    limit: Limit
    subject: Subject | None = None
    client: Client | None = None
    methods: tuple[Method, ...] = bounded((), max_items=6, unique=True)
    shadow: bool = False
    """Whether what is over the limit is only counted, and served all the same."""


class RateLimitScope(StrEnum):
    """What a limit is counted over."""

    CLUSTER = "Cluster"
    PROXY = "Proxy"


class FailureMode(StrEnum):
    """What becomes of calls while the rate-limit service does not answer."""

    OPEN = "Open"
    """They are served without a limit."""
    CLOSED = "Closed"
    """They are refused."""


@dataclass(frozen=True, slots=True)
class RateLimitService:
    """An external service (envoy.service.ratelimit.v3) that counts instead of the proxies, by limits of its own."""

    address: str = bounded(min_length=3, max_length=259, pattern=HOST_AND_PORT)
    domain: str = bounded("broker", min_length=1, max_length=63, pattern="^[-A-Za-z0-9_.]+$")
    failure_mode: FailureMode = FailureMode.OPEN
    timeout_milliseconds: int = bounded(50, minimum=1, maximum=5000)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The rules that the proxies enforce."""

    scope: RateLimitScope = RateLimitScope.CLUSTER
    rules: tuple[Rule, ...] = bounded((), max_items=64, key="name")
    service: RateLimitService | None = None
