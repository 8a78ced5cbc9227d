"""Specs that are invalid for one reason each: the parser and a real API server must both refuse them."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support.clusters import KEY_SET, each, exact, limited, postgres, total

RULES = "spec.proxy.rateLimit.rules"
ALLOWED = "spec.proxy.authorization.rules"
JWT = {"issuer": "https://login.example.com/", "jwks": {"uri": "https://login.example.com/keys"}}


@dataclass(frozen=True)
class InvalidSpec:
    """A spec, and the path that is to blame."""

    name: str
    path: str
    spec: dict[str, Any]


def _case(name: str, path: str, spec: dict[str, Any]) -> InvalidSpec:
    return InvalidSpec(name.replace(" ", "-"), path, spec)


def _client(from_: str, **client: Any) -> dict[str, Any]:
    """A rule for each such client."""
    return {**total(1), "client": {"type": "Distinct", "from": from_, **client}}


def _proxy(**proxy: Any) -> dict[str, Any]:
    return {"proxy": proxy}


def _allowed(*clients: dict[str, Any], **permission: Any) -> dict[str, Any]:
    """Authorization of these clients."""
    return _proxy(authorization={"rules": [{"name": "some", "clients": list(clients), **permission}]})


def _jwks(**jwks: Any) -> dict[str, Any]:
    return _proxy(authentication={"jwt": {**JWT, "jwks": jwks}})


INVALID_SPECS = (
    _case("unknown field", "spec.replica", {"replica": 1}),
    _case("unknown field inside", "spec.storage.sqlite.path", {"storage": {"sqlite": {"path": "/data"}}}),
    _case("wrong type", "spec.replicas", {"replicas": "1"}),
    _case("a boolean is no number", "spec.replicas", {"replicas": True}),
    _case("negative replicas", "spec.replicas", {"replicas": -1}),
    _case("two SQLite replicas", "spec.replicas", {"replicas": 2}),
    _case("two memory replicas", "spec.replicas", {"replicas": 2, "storage": {"type": "Memory"}}),
    _case("unknown store", "spec.storage.type", {"storage": {"type": "Redis"}}),
    _case("sqlite beside memory", "spec.storage.sqlite", {"storage": {"type": "Memory", "sqlite": {"size": "1Gi"}}}),
    _case("memory beside sqlite", "spec.storage.memory", {"storage": {"memory": {"limit": "1Gi"}}}),
    _case("postgres without settings", "spec.storage.postgres", {"storage": {"type": "Postgres"}}),
    _case(
        "postgres beside sqlite", "spec.storage.postgres", {"storage": {"postgres": {"dsnSecretRef": {"name": "a"}}}}
    ),
    _case("postgres without secret", "spec.storage.postgres.dsnSecretRef", postgres(dsnSecretRef=None)),
    _case("secret without name", "spec.storage.postgres.dsnSecretRef.name", postgres(dsnSecretRef={"key": "uri"})),
    _case("bad secret name", "spec.storage.postgres.dsnSecretRef.name", postgres(dsnSecretRef={"name": "Orders"})),
    _case("bad key", "spec.storage.postgres.dsnSecretRef.key", postgres(dsnSecretRef={"name": "a", "key": "../uri"})),
    _case("pool of one", "spec.storage.postgres.poolSize", postgres(poolSize=1)),
    _case("pool too large", "spec.storage.postgres.poolSize", postgres(poolSize=101)),
    _case("size too small", "spec.storage.sqlite.size", {"storage": {"sqlite": {"size": "1Mi"}}}),
    _case("size of no unit", "spec.storage.sqlite.size", {"storage": {"sqlite": {"size": "1GiB"}}}),
    _case("size as number", "spec.limits.maxBodyBytes", {"limits": {"maxBodyBytes": 1048576}}),
    _case("headers too large", "spec.limits.maxHeadersBytes", {"limits": {"maxHeadersBytes": "65Ki"}}),
    _case(
        "window too long", "spec.limits.deduplicationWindowSeconds", {"limits": {"deduplicationWindowSeconds": 3601}}
    ),
    _case("body too large", "spec.limits.maxBodyBytes", {"limits": {"maxBodyBytes": "65Mi"}}),
    _case("expiration too long", "spec.limits.maxExpirationSeconds", {"limits": {"maxExpirationSeconds": 2**31}}),
    _case("no subscriptions", "spec.limits.maxSubscriptions", {"limits": {"maxSubscriptions": 0}}),
    _case(
        "reserved pod label",
        "spec.broker.podLabels[app.kubernetes.io/name]",
        {"broker": {"podLabels": {"app.kubernetes.io/name": "a"}}},
    ),
    _case("bad label value", "spec.proxy.podLabels[team]", {"proxy": {"podLabels": {"team": "a b"}}}),
    _case("bad cpu", "spec.broker.resources.limits[cpu]", {"broker": {"resources": {"limits": {"cpu": "many"}}}}),
    _case("negative cpu", "spec.proxy.resources.limits[cpu]", {"proxy": {"resources": {"limits": {"cpu": -1}}}}),
    _case("bad toleration", "spec.broker.tolerations[0].effect", {"broker": {"tolerations": [{"effect": "Never"}]}}),
    _case(
        "no topology key",
        "spec.proxy.topologySpreadConstraints[0].topologyKey",
        {"proxy": {"topologySpreadConstraints": [{"maxSkew": 2}]}},
    ),
    _case("unknown affinity", "spec.broker.affinity.hostAffinity", {"broker": {"affinity": {"hostAffinity": {}}}}),
    _case("bad service type", "spec.proxy.service.type", {"proxy": {"service": {"type": "ExternalName"}}}),
    _case("bad interval", "spec.monitoring.interval", {"monitoring": {"interval": "1 minute"}}),
    _case("no limit", f"{RULES}[0].limit", limited({})),
    _case("no requests", f"{RULES}[0].limit.requests", limited({"limit": {"unit": "Second"}})),
    _case("unknown unit", f"{RULES}[0].limit.unit", limited(total(1, "Day"))),
    _case("zero requests", f"{RULES}[0].limit.requests", limited(total(0))),
    _case("burst below requests", f"{RULES}[0].limit.burst", limited(total(10, burst=9))),
    _case("exact without value", f"{RULES}[0].subject.value", limited({**each(1), "subject": {"type": "Exact"}})),
    _case(
        "distinct with value",
        f"{RULES}[0].subject.value",
        limited({**each(1), "subject": {"type": "Distinct", "value": "a"}}),
    ),
    _case("subject with control character", f"{RULES}[0].subject.value", limited(exact("a\n", 1))),
    _case("subject of too many bytes", f"{RULES}[0].subject.value", limited(exact("ü" * 128, 1))),
    _case("a name twice", f"{RULES}[1].name", limited({**each(1), "name": "same"}, {**total(1), "name": "same"})),
    _case("bad scope", "spec.proxy.rateLimit.scope", limited(total(1), scope="World")),
    _case("too many rules", RULES, limited(*(exact(f"s{index}", 1) for index in range(65)))),
    _case("client exact without value", f"{RULES}[0].client.value", limited(_client("Address", type="Exact"))),
    _case("client distinct with value", f"{RULES}[0].client.value", limited(_client("Address", value="10.0.0.1"))),
    _case("client of no source", f"{RULES}[0].client.from", limited({**total(1), "client": {"type": "Distinct"}})),
    _case(
        "client by a name", f"{RULES}[0].client.value", limited(_client("Address", type="Exact", value="shop.example"))
    ),
    _case("client by no header", f"{RULES}[0].client.header", limited(_client("Header"))),
    _case("header of an address", f"{RULES}[0].client.header", limited(_client("Address", header="x-tenant"))),
    _case("header of ours", f"{RULES}[0].client.header", limited(_client("Header", header="x-broker-token"))),
    _case("header of tokens", f"{RULES}[0].client.header", limited(_client("Header", header="authorization"))),
    _case("header of HTTP", f"{RULES}[0].client.header", limited(_client("Header", header=":path"))),
    _case("header in capitals", f"{RULES}[0].client.header", limited(_client("Header", header="X-Tenant"))),
    _case(
        "two headers",
        f"{RULES}[2].client.header",
        limited(_client("Header", header="x-tenant"), total(1), _client("Header", header="x-team")),
    ),
    _case(
        "header of keys",
        f"{RULES}[0].client.header",
        _proxy(
            rateLimit={"rules": [{"name": "a", **_client("Header", header="x-api-key")}]},
            authentication={"apiKeys": {"secretName": "keys"}},
        ),
    ),
    _case("limit by certificate", f"{RULES}[0].client.from", limited(_client("Certificate"))),
    _case("limit by token", f"{RULES}[0].client.from", limited(_client("Token"))),
    _case("limit by key", f"{RULES}[0].client.from", limited(_client("APIKey"))),
    _case("unknown method", f"{RULES}[0].methods[0]", limited({**total(1), "methods": ["Delete"]})),
    _case("a method twice", f"{RULES}[0].methods[1]", limited({**total(1), "methods": ["Fetch", "Fetch"]})),
    _case("service without rules", RULES, limited(service={"address": "limits.svc:8081"})),
    _case(
        "service for each proxy",
        "spec.proxy.rateLimit.scope",
        limited(total(1), scope="Proxy", service={"address": "limits.svc:8081"}),
    ),
    _case(
        "service without port", "spec.proxy.rateLimit.service.address", limited(total(1), service={"address": "limits"})
    ),
    _case("tls without secret", "spec.proxy.tls.secretName", _proxy(tls={})),
    _case(
        "certificates of nobody",
        "spec.proxy.tls.clientCertificates",
        _proxy(tls={"secretName": "a", "clientCertificates": "Required"}),
    ),
    _case("keys of no secret", "spec.proxy.authentication.apiKeys.secretName", _proxy(authentication={"apiKeys": {}})),
    _case(
        "keys in the header of tokens",
        "spec.proxy.authentication.apiKeys.header",
        _proxy(authentication={"apiKeys": {"secretName": "keys", "header": "authorization"}}),
    ),
    _case("no key set", "spec.proxy.authentication.jwt.jwks", _jwks()),
    _case(
        "two key sets",
        "spec.proxy.authentication.jwt.jwks",
        _jwks(inline=json.dumps(KEY_SET), uri="https://example.com/keys"),
    ),
    _case("key set at no url", "spec.proxy.authentication.jwt.jwks.uri", _jwks(uri="ftp://example.com/keys")),
    _case("no issuer", "spec.proxy.authentication.jwt.issuer", _proxy(authentication={"jwt": {"jwks": JWT["jwks"]}})),
    _case(
        "an audience twice",
        "spec.proxy.authentication.jwt.audiences[1]",
        _proxy(authentication={"jwt": {**JWT, "audiences": ["orders", "orders"]}}),
    ),
    _case("nobody allowed", f"{ALLOWED}[0].clients", _allowed()),
    _case("anyone with a name", f"{ALLOWED}[0].clients[0].value", _allowed({"from": "Anyone", "value": "billing"})),
    _case("prefix of nothing", f"{ALLOWED}[0].clients[0].value", _allowed({"from": "Anyone", "type": "Prefix"})),
    _case("allowed by certificate", f"{ALLOWED}[0].clients[0].from", _allowed({"from": "Certificate"})),
    _case("allowed by token", f"{ALLOWED}[0].clients[1].from", _allowed({"from": "Anyone"}, {"from": "Token"})),
    _case("allowed by key", f"{ALLOWED}[0].clients[0].from", _allowed({"from": "APIKey", "value": "billing"})),
    _case("nothing allowed", f"{ALLOWED}[0].actions", _allowed({"from": "Anyone"}, actions=[])),
    _case("an action twice", f"{ALLOWED}[0].actions[1]", _allowed({"from": "Anyone"}, actions=["Publish", "Publish"])),
    _case("no subject", f"{ALLOWED}[0].subjects[0].value", _allowed({"from": "Anyone"}, subjects=[{}])),
    _case(
        "allowed subject of too many bytes",
        f"{ALLOWED}[0].subjects[0].value",
        _allowed({"from": "Anyone"}, subjects=[{"value": "ü" * 128}]),
    ),
    _case(
        "all origins and one",
        "spec.proxy.grpcWeb.allowOrigins",
        _proxy(grpcWeb={"allowOrigins": ["*", "https://shop.example.com"]}),
    ),
    _case("origin with a path", "spec.proxy.grpcWeb.allowOrigins[0]", _proxy(grpcWeb={"allowOrigins": ["http://a/b"]})),
    _case(
        "more at least than at most",
        "spec.proxy.autoscaling.minReplicas",
        _proxy(autoscaling={"minReplicas": 3, "maxReplicas": 2}),
    ),
    _case(
        "autoscaling by no request",
        "spec.proxy.resources.requests",
        _proxy(autoscaling={"maxReplicas": 2}, resources={"requests": {"memory": "64Mi"}}),
    ),
    _case("autoscaling without end", "spec.proxy.autoscaling.maxReplicas", _proxy(autoscaling={})),
    _case(
        "traffic policy inside the cluster",
        "spec.proxy.service.externalTrafficPolicy",
        _proxy(service={"externalTrafficPolicy": "Local"}),
    ),
    _case("unknown balancing", "spec.proxy.balancing", _proxy(balancing="Random")),
    _case("headers too small", "spec.proxy.connections.maxHeaderBytes", _proxy(connections={"maxHeaderBytes": "1Ki"})),
    _case("no connections", "spec.proxy.connections.maxConnections", _proxy(connections={"maxConnections": 0})),
)
