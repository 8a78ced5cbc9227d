"""Rules over several fields of `spec.proxy`. Each stands in the CRD schema as CEL too, unless it says otherwise."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from broker_operator.api import jwks
from broker_operator.api.access import Authentication, Identity, IdentitySource, Match, Tls
from broker_operator.api.errors import Problem
from broker_operator.api.proxy import Proxy, ProxyAutoscaling, ProxyService, ServiceType
from broker_operator.api.rate_limit import (
    Client,
    ClientSource,
    Limit,
    RateLimit,
    RateLimitScope,
    Rule,
    Selection,
    Subject,
)

MAX_SUBJECT_BYTES = 255
RESERVED_HEADER = "^(x-broker-|x-envoy-|grpc-|(authorization|content-type|host|te)$)"
"""Headers that have a meaning of their own."""
ANY_ORIGIN = "*"


def check(proxy: Proxy, path: str) -> Iterator[Problem]:
    """Everything in well-formed settings of the proxies that does not fit together."""
    if proxy.autoscaling is not None:
        yield from _autoscaling(proxy.autoscaling, f"{path}.autoscaling")
        # Kubernetes takes a limit for a request that is absent.
        if "cpu" not in {**proxy.resources.requests, **proxy.resources.limits}:
            yield Problem(f"{path}.resources.requests", "must have cpu with autoscaling, which goes by its use")
    yield from _service(proxy.service, f"{path}.service")
    if proxy.tls is not None:
        yield from _tls(proxy.tls, f"{path}.tls")
    yield from _authentication(proxy.authentication, f"{path}.authentication")
    yield from _rate_limit(proxy, f"{path}.rateLimit")
    yield from _authorization(proxy, f"{path}.authorization.rules")
    if proxy.grpc_web is not None:
        origins = proxy.grpc_web.allow_origins
        if ANY_ORIGIN in origins and len(origins) > 1:
            yield Problem(f"{path}.grpcWeb.allowOrigins", '"*" stands for all origins: it must be alone')


def _autoscaling(autoscaling: ProxyAutoscaling, path: str) -> Iterator[Problem]:
    least, most = autoscaling.min_replicas, autoscaling.max_replicas
    if least > most:
        yield Problem(f"{path}.minReplicas", f"must be at most maxReplicas ({most}), is {least}")


def _service(service: ProxyService, path: str) -> Iterator[Problem]:
    if service.external_traffic_policy is not None and service.type is ServiceType.CLUSTER_IP:
        yield Problem(f"{path}.externalTrafficPolicy", "is only for type NodePort or LoadBalancer")


def _tls(tls: Tls, path: str) -> Iterator[Problem]:
    if tls.client_certificates is not None and tls.client_ca_secret_name is None:
        yield Problem(
            f"{path}.clientCertificates", "needs clientCASecretName: the authorities of clients' certificates"
        )


def _authentication(authentication: Authentication, path: str) -> Iterator[Problem]:
    if authentication.api_keys is not None:
        yield from _header(authentication.api_keys.header, f"{path}.apiKeys.header")
    if authentication.jwt is not None:
        keys, at = authentication.jwt.jwks, f"{path}.jwt.jwks"
        if (keys.inline is None) == (keys.uri is None):
            yield Problem(at, "must have exactly one of inline and uri")
        if keys.inline is not None:
            # CEL cannot read JSON: here alone.
            for inside, message in jwks.problems(keys.inline):
                yield Problem(f"{at}.inline{inside}", message)


def _rate_limit(proxy: Proxy, path: str) -> Iterator[Problem]:
    rate_limit = proxy.rate_limit
    if rate_limit.service is not None:
        if rate_limit.scope is RateLimitScope.PROXY:
            yield Problem(f"{path}.scope", "must not be Proxy with a service, which counts for all proxies together")
        if not rate_limit.rules:
            yield Problem(f"{path}.rules", "must not be empty with a service: they say what it counts")
    for index, rule in enumerate(rate_limit.rules):
        at = f"{path}.rules[{index}]"
        yield from _limit(rule.limit, f"{at}.limit")
        if rule.subject is not None:
            yield from _selection(rule.subject, f"{at}.subject")
            yield from _subject(rule.subject.value, f"{at}.subject.value")
        if rule.client is not None:
            yield from _client(rule.client, proxy, f"{at}.client")
    yield from _one_header(rate_limit, f"{path}.rules")


def _limit(limit: Limit, path: str) -> Iterator[Problem]:
    if limit.burst is not None and limit.burst < limit.requests:
        yield Problem(f"{path}.burst", f"must be at least requests ({limit.requests}), is {limit.burst}")


def _selection(selected: Subject | Client, path: str) -> Iterator[Problem]:
    if selected.type is Selection.DISTINCT:
        if selected.value is not None:
            yield Problem(f"{path}.value", "must not be set for type Distinct")
    elif selected.value is None:
        yield Problem(f"{path}.value", "is required for type Exact")


def _subject(value: str | None, path: str) -> Iterator[Problem]:
    if value is not None and len(value.encode(errors="surrogatepass")) > MAX_SUBJECT_BYTES:
        yield Problem(path, f"must have at most {MAX_SUBJECT_BYTES} bytes in UTF-8")


def _client(client: Client, proxy: Proxy, path: str) -> Iterator[Problem]:
    yield from _selection(client, path)
    yield from _proved(client.from_, proxy, f"{path}.from")
    if client.from_ is ClientSource.ADDRESS and client.value is not None and not _is_address(client.value):
        yield Problem(f"{path}.value", "must be an IP address in its usual form, e.g. 10.1.2.3 or 2001:db8::1")
    if client.from_ is not ClientSource.HEADER:
        if client.header is not None:
            yield Problem(f"{path}.header", "is only for from: Header")
    elif client.header is None:
        yield Problem(f"{path}.header", "is required with from: Header")
    else:
        yield from _header(client.header, f"{path}.header")
        keys = proxy.authentication.api_keys
        if keys is not None and keys.header == client.header:
            yield Problem(f"{path}.header", "must not be the header of the API keys: use from: APIKey")


def _is_address(text: str) -> bool:
    """Whether it is written as the proxies write it: no client would fit anything else. CEL sees only its letters."""
    try:
        return str(ipaddress.ip_address(text)) == text
    except ValueError:
        return False


def _one_header(rate_limit: RateLimit, path: str) -> Iterator[Problem]:
    """The brokers get the value of one header."""
    named = [(index, header) for index, rule in enumerate(rate_limit.rules) if (header := _header_of(rule)) is not None]
    for index, header in named:
        if header != named[0][1]:
            message = f"all clients from: Header must name the same header; rules[{named[0][0]}] names {named[0][1]}"
            yield Problem(f"{path}[{index}].client.header", message)


def _header_of(rule: Rule) -> str | None:
    return None if rule.client is None else rule.client.header


def _header(name: str, path: str) -> Iterator[Problem]:
    if re.match(RESERVED_HEADER, name):
        reserved = "must not be authorization, content-type, host or te, nor begin with x-broker-, x-envoy- or grpc-"
        yield Problem(path, reserved)


def _authorization(proxy: Proxy, path: str) -> Iterator[Problem]:
    for index, rule in enumerate(proxy.authorization.rules):
        for number, identity in enumerate(rule.clients):
            at = f"{path}[{index}].clients[{number}]"
            yield from _identity(identity, at)
            yield from _proved(identity.from_, proxy, f"{at}.from")
        for number, subject in enumerate(rule.subjects):
            yield from _subject(subject.value, f"{path}[{index}].subjects[{number}].value")


def _identity(identity: Identity, path: str) -> Iterator[Problem]:
    if identity.from_ is IdentitySource.ANYONE and identity.value is not None:
        yield Problem(f"{path}.value", "must not be set with from: Anyone")
    if identity.type is Match.PREFIX and identity.value is None:
        yield Problem(f"{path}.value", "is required for type Prefix")


def _proved(source: ClientSource | IdentitySource, proxy: Proxy, path: str) -> Iterator[Problem]:
    """What tells clients apart must be asked of them, or no client would have it."""
    if source == ClientSource.CERTIFICATE and (proxy.tls is None or proxy.tls.client_ca_secret_name is None):
        yield Problem(path, "Certificate needs tls.clientCASecretName: the authorities of clients' certificates")
    if source == ClientSource.TOKEN and proxy.authentication.jwt is None:
        yield Problem(path, "Token needs authentication.jwt: who issues the tokens")
    if source == ClientSource.API_KEY and proxy.authentication.api_keys is None:
        yield Problem(path, "APIKey needs authentication.apiKeys: the Secret with the keys")
