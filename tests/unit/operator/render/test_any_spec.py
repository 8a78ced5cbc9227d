"""Whatever the parser accepts can be rendered, and Kubernetes objects stay plain data."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_operator.api import parse
from broker_operator.render import render
from tests.support.clusters import manifest, postgres
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


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = [
        {"subject": {"type": "Exact", "value": one}} for one in draw(st.sets(subjects, max_size=3))
    ]
    chosen += draw(
        st.sampled_from([[], [{}], [{"subject": {"type": "Distinct"}}], [{}, {"subject": {"type": "Distinct"}}]])
    )
    limits = st.builds(
        lambda requests, unit, more: {"requests": requests, "unit": unit, "burst": requests + more},
        st.integers(1, 10_000_000),
        st.sampled_from(["Second", "Minute", "Hour"]),
        st.integers(0, 1000),
    )
    return [{"name": f"r{index}", "limit": draw(limits), **rule} for index, rule in enumerate(chosen)]


others = st.fixed_dictionaries(
    {},
    optional={
        "broker": st.fixed_dictionaries({}, optional=pods),
        "proxy": st.fixed_dictionaries(
            {},
            optional={
                **pods,
                "replicas": st.integers(0, 100),
                "rateLimit": st.fixed_dictionaries({"rules": rules(), "scope": st.sampled_from(["Cluster", "Proxy"])}),
            },
        ),
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
