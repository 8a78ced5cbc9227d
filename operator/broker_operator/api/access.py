"""Who may connect, how clients prove who they are, and what each of them may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker_operator.api.fields import bounded
from broker_operator.api.pods import DNS_NAME
from broker_operator.api.rate_limit import HEADER_NAME

URL = r"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?(/[^\s\x00-\x1f\x7f]*)?$"


class ClientCertificates(StrEnum):
    """Whether clients must show a certificate."""

    OPTIONAL = "Optional"
    REQUIRED = "Required"


@dataclass(frozen=True, slots=True)
class Tls:
    """The proxies' certificate, and whose certificates clients may show."""

    secret_name: str = bounded(min_length=1, max_length=253, pattern=DNS_NAME)
    """Of type kubernetes.io/tls, as cert-manager writes it: tls.crt, tls.key."""
    client_ca_secret_name: str | None = bounded(None, min_length=1, max_length=253, pattern=DNS_NAME)
    """With the authorities of clients' certificates in ca.crt."""
    client_certificates: ClientCertificates | None = None
    """Required by default where `client_ca_secret_name` is set; without that it must be absent."""


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Keys that clients send in a header. In the Secret, each entry is one client: its name, and the key."""

    secret_name: str = bounded(min_length=1, max_length=253, pattern=DNS_NAME)
    header: str = bounded("x-api-key", min_length=1, max_length=63, pattern=HEADER_NAME)


@dataclass(frozen=True, slots=True)
class Jwks:
    """The keys that tokens are signed with: as text, or where they are fetched from."""

    inline: str | None = bounded(None, min_length=2, max_length=65536)
    uri: str | None = bounded(None, min_length=8, max_length=2048, pattern=URL)
    cache_seconds: int = bounded(300, minimum=1, maximum=86400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt:
    """JSON Web Tokens in the header `authorization: Bearer …`; the client is the claim `sub`."""

    issuer: str = bounded(min_length=1, max_length=2048)
    audiences: tuple[str, ...] = bounded((), max_items=16, unique=True, item_max_length=2048)
    jwks: Jwks


@dataclass(frozen=True, slots=True)
class Authentication:
    """What clients must send to be served; with both kinds, either is enough."""

    api_keys: ApiKeys | None = None
    jwt: Jwt | None = None


class IdentitySource(StrEnum):
    """What proves who a client is."""

    CERTIFICATE = "Certificate"
    TOKEN = "Token"  # noqa: S105 - not a password
    API_KEY = "APIKey"
    ANYONE = "Anyone"
    """Nothing: every client, also one that has proved nothing."""


class Match(StrEnum):
    """How a value is compared."""

    EXACT = "Exact"
    PREFIX = "Prefix"


@dataclass(frozen=True, slots=True)
class Identity:
    """Clients by who they are. Without `value` everybody who has proved it in this way."""

    from_: IdentitySource
    type: Match = Match.EXACT
    value: str | None = bounded(None, min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")


class Action(StrEnum):
    """What a client does with a subject."""

    PUBLISH = "Publish"
    """Publish, PublishBatch, PublishStream."""
    SUBSCRIBE = "Subscribe"
    """Subscribe, SubscribeBatch, Fetch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectMatch:
    """Subjects: the one `value`, or all that begin with it."""

    type: Match = Match.EXACT
    value: str = bounded(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """These clients may do this with these subjects; `subjects` empty is every subject."""

    name: str = bounded(min_length=1, max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    clients: tuple[Identity, ...] = bounded(min_items=1, max_items=64)
    actions: tuple[Action, ...] = bounded((Action.PUBLISH, Action.SUBSCRIBE), min_items=1, max_items=2, unique=True)
    subjects: tuple[SubjectMatch, ...] = bounded((), max_items=64)


@dataclass(frozen=True, slots=True)
class Authorization:
    """Without rules everybody may do everything; with them, only what one of them allows."""

    rules: tuple[Permission, ...] = bounded((), max_items=64, key="name")
