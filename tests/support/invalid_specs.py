"""Specs that are invalid for one reason each: the parser and a real API server must both refuse them."""

from dataclasses import dataclass
from typing import Any

from tests.support.clusters import each, exact, limited, postgres, total

RULES = "spec.proxy.rateLimit.rules"


@dataclass(frozen=True)
class InvalidSpec:
    """A spec, and the path that is to blame."""

    name: str
    path: str
    spec: dict[str, Any]


def _case(name: str, path: str, spec: dict[str, Any]) -> InvalidSpec:
    return InvalidSpec(name.replace(" ", "-"), path, spec)


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
)
