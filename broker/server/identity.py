"""Who makes a call, as the proxy in front tells in headers of its own."""

from typing import NamedTuple

from broker.server.door import Metadata
from broker.server.headers import ADDRESS, API_KEY, CERTIFICATE, TOKEN


class Identity(NamedTuple):
    """Who a client has proved to be: in none, one or several ways."""

    certificate: str | None = None
    """The URI in its certificate, else the DNS name, else the subject."""
    token: str | None = None
    """The subject of its JWT."""
    api_key: str | None = None
    """The name of its key."""


NOBODY = Identity()


def identity_of(metadata: Metadata | None) -> Identity:
    """Return the identity of a call; `NOBODY` where the proxy says none, or is not trusted."""
    if metadata is None or len(metadata) <= API_KEY:
        return NOBODY
    return Identity(metadata[CERTIFICATE] or None, metadata[TOKEN] or None, metadata[API_KEY] or None)


def described(metadata: Metadata | None) -> str:
    """Return who makes a call, for logs: `token 'alice' from 10.0.0.7`, or "unknown"."""
    identity = identity_of(metadata)
    names = (("certificate", identity.certificate), ("token", identity.token), ("API key", identity.api_key))
    said = [f"{kind} {name!r}" for kind, name in names if name]
    address = metadata[ADDRESS] if metadata is not None and len(metadata) > ADDRESS else None
    if address:
        said = [*(said or ["nobody known"]), f"from {address}"]
    return " ".join(said) or "unknown"
