"""Whatever the parser accepts can be rendered, and Kubernetes objects stay plain data."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_operator.api import Method, parse
from broker_operator.render import render
from tests.support.clusters import KEY_SET, manifest, postgres
from tests.unit.operator.render.test_golden import SETTINGS

labels = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9]{0,8}", fullmatch=True), max_size=2
)
sizes = st.sampled_from(["16Mi", "100M", "1Gi", "2048Mi"])
amounts = st.integers(0, 9) | st.from_regex(r"[0-9]{1,3}(\.[0-9])?(m|k|M|Mi|Gi)?", fullmatch=True)
resources = st.fixed_dictionaries(
    {},
    optional={
        part: st.fixed_dictionaries({}, optional={"cpu": amounts, "memory": amounts}) for part in ("requests", "limits")
    },
)
tolerations = st.fixed_dictionaries(
    {},
    optional={
        "key": st.just("dedicated"),
        "operator": st.sampled_from(["Exists", "Equal"]),
        "effect": st.sampled_from(["NoSchedule", "NoExecute"]),
        "tolerationSeconds": st.integers(0, 9),
    },
)
pods: dict[str, st.SearchStrategy[Any]] = {
    "image": st.just("registry.example/image:1"),
    "resources": resources,
    "nodeSelector": labels,
    "podLabels": labels,
    "podAnnotations": labels,
    "tolerations": st.lists(tolerations, max_size=2),
    "topologySpreadConstraints": st.lists(st.fixed_dictionaries({"topologyKey": st.just("zone")}), max_size=2),
    "affinity": st.fixed_dictionaries({}, optional={"podAffinity": st.just({"a": [1, {"b": None}]})}),
    "drainSeconds": st.integers(1, 3600),
}
alone: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 1),
        "storage": st.sampled_from([{}, {"type": "Memory"}])
        | st.builds(lambda size: {"sqlite": {"size": size}}, sizes),
    },
)
together = st.builds(lambda replicas, pool: postgres(replicas, poolSize=pool), st.integers(0, 100), st.integers(2, 100))
subjects = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)


SOURCES = ("Certificate", "Token", "APIKey")


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def limits(draw: st.DrawFn) -> dict[str, Any]:
    requests = draw(st.integers(1, 10_000_000))
    more = draw(optional(burst=st.integers(requests, requests + 1000)))
    return {"requests": requests, "unit": draw(st.sampled_from(["Second", "Minute", "Hour"])), **more}


@st.composite
def clients(draw: st.DrawFn, proved: list[str]) -> dict[str, Any]:
    """Which clients a rule is for, of those who can be told apart."""
    source = draw(st.sampled_from(["Address", "Header", *proved]))
    header = {"header": "x-tenant"} if source == "Header" else {}
    if draw(st.booleans()):
        return {"type": "Distinct", "from": source, **header}
    values = st.ip_addresses().map(str) if source == "Address" else subjects
    return {"type": "Exact", "from": source, "value": draw(values), **header}


@st.composite
def rate_limits(draw: st.DrawFn, proved: list[str]) -> dict[str, Any]:
    rule = st.fixed_dictionaries(
        {"limit": limits()},
        optional={
            "subject": st.just({"type": "Distinct"})
            | st.builds(lambda value: {"type": "Exact", "value": value}, subjects),
            "client": clients(proved),
            "methods": st.lists(st.sampled_from(list(Method)).map(str), unique=True, max_size=6),
            "shadow": st.booleans(),
        },
    )
    rules = [{"name": f"r{index}", **one} for index, one in enumerate(draw(st.lists(rule, max_size=5)))]
    if rules and draw(st.booleans()):
        service = optional(domain=st.just("orders"), failureMode=st.sampled_from(["Open", "Closed"]))
        return {"rules": rules, "service": {"address": "limits.shop.svc:8081", **draw(service)}}
    return {"rules": rules, "scope": draw(st.sampled_from(["Cluster", "Proxy"]))}


@st.composite
def permissions(draw: st.DrawFn, proved: list[str]) -> list[dict[str, Any]]:
    matches = st.sampled_from(["Exact", "Prefix"])
    identity = st.just({"from": "Anyone"})
    if proved:
        identity |= st.fixed_dictionaries(
            {"from": st.sampled_from(proved), "value": subjects}, optional={"type": matches}
        ) | st.fixed_dictionaries({"from": st.sampled_from(proved)})
    rule = st.fixed_dictionaries(
        {"clients": st.lists(identity, min_size=1, max_size=3)},
        optional={
            "actions": st.sampled_from([["Publish"], ["Subscribe"], ["Subscribe", "Publish"]]),
            "subjects": st.lists(st.fixed_dictionaries({"value": subjects}, optional={"type": matches}), max_size=2),
        },
    )
    return [{"name": f"r{index}", **one} for index, one in enumerate(draw(st.lists(rule, max_size=3)))]


@st.composite
def proxies(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of the proxies that fit together."""
    proved = draw(st.lists(st.sampled_from(SOURCES), unique=True))
    chosen: dict[str, Any] = {"rateLimit": draw(rate_limits(proved))}
    authentication: dict[str, Any] = {}
    if "Certificate" in proved:
        certificates = optional(clientCertificates=st.sampled_from(["Optional", "Required"]))
        chosen["tls"] = {"secretName": "orders-tls", "clientCASecretName": "orders-ca", **draw(certificates)}
    elif draw(st.booleans()):
        chosen["tls"] = {"secretName": "orders-tls"}
    if "APIKey" in proved:
        authentication["apiKeys"] = {"secretName": "orders-keys", **draw(optional(header=st.just("x-key")))}
    if "Token" in proved:
        uri = st.sampled_from(["https://login.example.com/keys", "http://login.shop.svc:8080/keys?a=b"])
        jwks = st.builds(lambda text: {"uri": text}, uri) | st.just({"inline": json.dumps(KEY_SET)})
        audiences = optional(audiences=st.lists(subjects, unique=True, max_size=2))
        authentication["jwt"] = {"issuer": draw(subjects), "jwks": draw(jwks), **draw(audiences)}
    more = optional(
        **pods,
        replicas=st.integers(0, 100),
        balancing=st.sampled_from(["LeastRequest", "Subject"]),
        autoscaling=st.integers(1, 100).flatmap(
            lambda most: st.fixed_dictionaries(
                {"maxReplicas": st.just(most), "minReplicas": st.integers(1, most)},
                optional={"targetCPUUtilizationPercentage": st.integers(1, 100)},
            )
        ),
        service=st.sampled_from([{}, {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}]),
        grpcWeb=optional(
            allowOrigins=st.sampled_from([[], ["*"], ["https://shop.example.com", "http://*.example.com:8080"]]),
            maxAgeSeconds=st.integers(0, 86400),
        ),
        connections=optional(
            maxConnections=st.integers(1, 1_000_000),
            maxStreams=st.integers(1, 1_000_000),
            maxAgeSeconds=st.integers(1, 604_800),
            idleSeconds=st.integers(1, 604_800),
            keepaliveSeconds=st.integers(1, 3600),
            maxHeaderBytes=st.sampled_from(["4Ki", "5k", "96Ki"]),
        ),
    )
    authorization = {"rules": draw(permissions(proved))}
    chosen |= {"authentication": authentication, "authorization": authorization, **draw(more)}
    if "autoscaling" in chosen and "requests" in chosen.get("resources", {}):
        chosen["resources"] = {**chosen["resources"], "requests": {"cpu": "1"}}
    return chosen


others = st.fixed_dictionaries(
    {},
    optional={
        "broker": st.fixed_dictionaries({}, optional=pods),
        "proxy": proxies(),
        "monitoring": st.fixed_dictionaries({}, optional={"enabled": st.booleans(), "labels": labels}),
    },
)
specs = st.builds(lambda brokers, rest: {**brokers, **rest}, alone | together, others)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(specs)
def test_any_valid_spec_renders(spec: dict[str, Any]) -> None:
    objects = render(parse(manifest(spec)), SETTINGS)
    assert json.loads(json.dumps(objects)) == objects
    assert len({(one["kind"], one["metadata"]["name"]) for one in objects}) == len(objects)
