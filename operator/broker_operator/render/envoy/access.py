"""Who a client is: proved by a token or a key, and told to the brokers in headers of ours."""

from __future__ import annotations

from urllib.parse import urlsplit

from broker_operator.api.access import ApiKeys, Authentication, Jwks, Jwt
from broker_operator.render.envoy.names import API_KEY_HEADER, Config, socket_address, typed
from broker_operator.render.envoy.places import Places
from broker_operator.render.envoy.sources import Sources

API_KEYS = "envoy.filters.http.api_key_auth"
TOKENS = "envoy.filters.http.jwt_authn"
TOKEN_PAYLOAD = "payload"  # noqa: S105 - a name
"""Under this name the filter's metadata has what a token says."""
JWKS_CLUSTER = "jwks"

_FETCH_TIMEOUT = "5s"


def filters(authentication: Authentication, places: Places, sources: Sources) -> list[Config]:
    """The HTTP filters that let only those in who prove who they are.

    With both kinds a call is judged by its key if it has one, else by its token: exactly one filter sees it. Tokens
    come first, since the other takes the key away.
    """
    keys, jwt = authentication.api_keys, authentication.jwt
    found = []
    if jwt is not None:
        config = _tokens(jwt)
        if keys is not None:
            config = _unless(_has(keys.header), TOKENS, config)
        found.append(sources.http_filter(TOKENS, config))
    if keys is not None:
        config = _api_keys(keys)
        if jwt is not None:
            config = _unless(_not(_has(keys.header)), API_KEYS, config)
        found.append(sources.http_filter(API_KEYS, config, completed_in=places.api_keys))
    return found


def open_to_all() -> Config:
    """Per route: nobody need prove anything."""
    return {name: typed("envoy.config.route.v3.FilterConfig", disabled=True) for name in (API_KEYS, TOKENS)}


def _api_keys(keys: ApiKeys) -> Config:
    """Without the keys, which are secret: a program in the pod adds them."""
    return typed(
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        credentials=[],
        key_sources=[{"header": keys.header}],
        forwarding={"header": API_KEY_HEADER, "hide_credentials": True},
    )


def _tokens(jwt: Jwt) -> Config:
    provider: Config = {
        "issuer": jwt.issuer,
        "audiences": list(jwt.audiences),
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": TOKEN_PAYLOAD,
        **_signing_keys(jwt.jwks),
    }
    return typed(
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={"clients": provider},
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "clients"}}],
    )


def _signing_keys(jwks: Jwks) -> Config:
    if jwks.uri is None:
        return {"local_jwks": {"inline_string": jwks.inline}}
    return {
        "remote_jwks": {
            "http_uri": {"uri": jwks.uri, "cluster": JWKS_CLUSTER, "timeout": _FETCH_TIMEOUT},
            "cache_duration": f"{jwks.cache_seconds}s",
            # Fetched ahead of need; while they cannot be had, calls without a known key are refused, and nothing else.
            "async_fetch": {"fast_listener": True},
            "retry_policy": {"num_retries": 3, "retry_back_off": {"base_interval": "0.2s", "max_interval": "2s"}},
        }
    }


def clusters(authentication: Authentication, places: Places) -> list[Config]:
    """Where the keys that tokens are signed with are fetched from."""
    uri = authentication.jwt.jwks.uri if authentication.jwt else None
    if uri is None:
        return []
    parts = urlsplit(uri)
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    endpoint = {"address": socket_address(host, parts.port or (443 if encrypted else 80))}
    dns = typed("envoy.extensions.clusters.dns.v3.DnsCluster", dns_lookup_family="V4_PREFERRED")
    cluster: Config = {
        "name": JWKS_CLUSTER,
        "cluster_type": {"name": "envoy.clusters.dns", "typed_config": dns},
        "connect_timeout": _FETCH_TIMEOUT,
        "load_assignment": {
            "cluster_name": JWKS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }
    if encrypted:
        cluster["transport_socket"] = _encrypted(host, places.system_ca)
    return [cluster]


def _encrypted(host: str, authorities: str) -> Config:
    context = typed(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni=host,
        auto_sni_san_validation=True,
        common_tls_context={"validation_context": {"trusted_ca": {"filename": authorities}}},
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _has(header: str) -> Config:
    """A predicate: the header is there, with whatever in it."""
    message = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {
        "single_predicate": {
            "input": {"name": "header", "typed_config": typed(message, header_name=header)},
            "value_match": {"safe_regex": {"google_re2": {}, "regex": "(?s).*"}},
        }
    }


def _not(predicate: Config) -> Config:
    return {"not_matcher": predicate}


def _unless(predicate: Config, name: str, config: Config) -> Config:
    """The filter, which leaves alone the calls that fit."""
    skip = typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    then = {"action": {"name": "skip", "typed_config": skip}}
    return typed(
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        xds_matcher={"matcher_list": {"matchers": [{"predicate": predicate, "on_match": then}]}},
        extension_config={"name": name, "typed_config": config},
    )
