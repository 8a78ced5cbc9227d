"""The headers between proxies and brokers: dropped from clients, set by the proxy.

The values are made by CEL, which knows how to say "else". What could not stand in a header is no identity.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker_operator.api import Proxy
from broker_operator.render.envoy.access import TOKEN_PAYLOAD, TOKENS
from broker_operator.render.envoy.names import (
    ADDRESS_HEADER,
    CERTIFICATE_HEADER,
    CLIENT_HEADER,
    OWN_HEADERS,
    TOKEN_HEADER,
    Config,
    typed,
)

HEADERS = "envoy.filters.http.header_mutation"
MESSAGE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"

_URI, _DNS, _SUBJECT = (f"connection.{name}_peer_certificate" for name in ("uri_san", "dns_san", "subject"))


def _unless_strange(value: str) -> str:
    """CEL: the value, or nothing when it has control characters, which no header can carry."""
    return f"{value}.matches('^[^[:cntrl:]]+$') ? {value} : ''"


_CERTIFICATE = (
    f"!connection.mtls ? '' : has({_URI}) ? ({_unless_strange(_URI)}) : has({_DNS}) ? ({_unless_strange(_DNS)}) : "
    f"{_unless_strange(_SUBJECT)}"
)


_CLAIMS = f"metadata.filter_metadata['{TOKENS}']['{TOKEN_PAYLOAD}']"
_SUB = f"{_CLAIMS}['sub']"
_TOKEN = f"'sub' in {_CLAIMS} && type({_SUB}) == string ? ({_unless_strange(_SUB)}) : ''"


def stripped() -> list[Config]:
    """Early mutations of a connection manager: clients send none of our headers."""
    return [
        {
            "name": "envoy.http.early_header_mutation.header_mutation",
            "typed_config": typed(
                "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                mutations=[{"remove_on_match": {"key_matcher": {"prefix": OWN_HEADERS}}}],
            ),
        }
    ]


def filter_(name: str = HEADERS, **mutations: list[Config]) -> Config:
    """An HTTP filter that sets headers. The one of clients' calls sets what the routes configure under its name; it is
    behind what proves and reads, and before what counts.
    """
    config = typed(MESSAGE, mutations=mutations) if mutations else typed(MESSAGE)
    return {"name": name, "typed_config": config}


def mutations(proxy: Proxy, more: Iterable[Config]) -> Config:
    """Per route: who the client is, and more."""
    # gRPC asks for it; a broker would cut off a call without.
    found = [set_header("te", "trailers"), set_header(ADDRESS_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")]
    rules = proxy.rate_limit.rules
    # All rules that tell clients by a header name the same one.
    counted_by = sorted({rule.client.header for rule in rules if rule.client and rule.client.header})
    found += [set_header(CLIENT_HEADER, f"%REQ({header})%") for header in counted_by]
    if proxy.tls is not None and proxy.tls.client_ca_secret_name is not None:
        found.append(set_header(CERTIFICATE_HEADER, f"%CEL({_CERTIFICATE})%"))
    if proxy.authentication.jwt is not None:
        found.append(set_header(TOKEN_HEADER, f"%CEL({_TOKEN})%"))
    return {HEADERS: typed(f"{MESSAGE}PerRoute", mutations={"request_mutations": [*found, *more]})}


def set_header(name: str, value: str) -> Config:
    """A mutation; no header when the value is empty."""
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
