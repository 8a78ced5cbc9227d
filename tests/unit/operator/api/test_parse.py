"""The parser: what it takes, and what it says of what it does not."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_operator.api import PAUSE_ANNOTATION, Quantity, Spec, SpecError, StorageType, parse
from tests.support.clusters import each, exact, limited, manifest, total
from tests.support.invalid_specs import INVALID_SPECS

SAMPLES = sorted((Path(__file__).parents[4] / "manifests" / "samples").glob("*.yaml"))


def problems(obj: Any) -> list[str]:
    with pytest.raises(SpecError) as error:
        parse(obj)
    return [str(problem) for problem in error.value.problems]


def test_an_empty_spec_has_all_defaults() -> None:
    cluster = parse(manifest({}))
    assert cluster.spec == Spec()
    assert cluster.spec.storage.type is StorageType.SQLITE
    assert (cluster.name, cluster.namespace, cluster.generation, cluster.paused) == ("orders", "shop", 1, False)


def test_a_file_needs_no_namespace_uid_or_spec() -> None:
    cluster = parse({"apiVersion": "brokercluster.dev/v1alpha1", "kind": "BrokerCluster", "metadata": {"name": "a"}})
    assert (cluster.namespace, cluster.uid, cluster.generation, cluster.spec) == ("default", "", 0, Spec())


def test_null_is_the_same_as_absent() -> None:
    assert (
        parse(manifest({"replicas": None, "storage": None, "proxy": {"image": None, "podLabels": {"team": None}}})).spec
        == Spec()
    )


@pytest.mark.parametrize(("value", "paused"), [("true", True), ("false", False), ("", False)])
def test_the_annotation_pauses(value: str, paused: bool) -> None:
    obj = manifest()
    obj["metadata"]["annotations"] = {PAUSE_ANNOTATION: value}
    assert parse(obj).paused is paused


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_every_sample_is_valid(file: Path) -> None:
    assert parse(yaml.safe_load(file.read_text())).name


def test_there_are_samples() -> None:
    assert {file.stem for file in SAMPLES} >= {
        *("memory", "sqlite", "postgres", "limits", "tls", "access", "web", "balancing")
    }


@pytest.mark.parametrize("case", INVALID_SPECS, ids=lambda case: case.name)
def test_an_invalid_spec_is_refused_with_the_path_of_its_field(case: Any) -> None:
    with pytest.raises(SpecError) as error:
        parse(manifest(case.spec))
    assert [problem.path for problem in error.value.problems] == [case.path]
    assert error.value.path == case.path
    assert str(error.value) == f"{error.value.path}: {error.value.message}"


def test_all_problems_are_said_at_once() -> None:
    spec = {"replicas": True, "limits": {"maxBodyBytes": 5}, "proxi": {}, "monitoring": {"interval": "soon"}}
    assert [line.split(":")[0] for line in problems(manifest(spec))] == [
        "spec.proxi",
        "spec.replicas",
        "spec.limits.maxBodyBytes",
        "spec.monitoring.interval",
    ]


def test_messages_say_what_is_allowed() -> None:
    assert problems(manifest(limited(total(1, "Day")))) == [
        "spec.proxy.rateLimit.rules[0].limit.unit: must be one of Second, Minute, Hour, not Day"
    ]
    assert problems(manifest({"replica": 1})) == [
        "spec.replica: unknown field; known here: broker, limits, monitoring, proxy, replicas, storage"
    ]
    assert problems(manifest({"replicas": 3})) == ["spec.replicas: storage type SQLite allows at most 1 replica"]


@pytest.mark.parametrize("name", ["Orders", "1a", "a.b", "-a", "a-", "a\n", "", "a" * 41, None, 5])
def test_a_name_that_no_service_can_have_is_refused(name: Any) -> None:
    obj = manifest()
    obj["metadata"]["name"] = name
    assert problems(obj)[0].startswith("metadata.name: ")


def test_another_kind_is_refused() -> None:
    lines = problems({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "data": {}})
    assert [line.split(":")[0] for line in lines] == ["apiVersion", "kind", "data"]


def test_rules_are_read() -> None:
    rules = parse(
        manifest(limited(total(5), each(2, "Minute", burst=9), exact("audit", 1)))
    ).spec.proxy.rate_limit.rules
    assert [(rule.subject and rule.subject.value, rule.limit.requests) for rule in rules] == [
        (None, 5),
        (None, 2),
        ("audit", 1),
    ]
    assert rules[1].limit.burst == 9
    assert rules[1].limit.unit.seconds == 60


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("1Ki", 1024), ("64Mi", 64 << 20), ("2G", 2_000_000_000), ("3k", 3000), ("1Ti", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert Quantity(text).bytes == size
    assert str(Quantity(text)) == text


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5Gi", "1GiB", "1 Mi", "1m", "Mi", "1Mi\n", "٣Mi"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        Quantity(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=12,
)


# Other programs share the machine: slow is no error.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(json_values)
def test_junk_raises_nothing_but_spec_error(junk: Any) -> None:
    with pytest.raises(SpecError):
        parse(junk)


def paths(schema: Any) -> Any:
    """A spec with the right names and anything as values, deep enough to reach every decoder."""
    if schema.get("type") == "object" and "properties" in schema:
        known = {name: paths(inner) for name, inner in schema["properties"].items()}
        return st.fixed_dictionaries({}, optional=known) | json_values
    if schema.get("type") == "array":
        return st.lists(paths(schema["items"]), max_size=3) | json_values
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | json_values
    return st.integers(0, 99) | st.sampled_from(["1Mi", "a", "\ud800", "1"]) | json_values


CRD = yaml.safe_load((Path(__file__).parents[4] / "manifests" / "crd" / "brokerclusters.yaml").read_text())
SPEC_SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


@patient
@given(paths(SPEC_SCHEMA))
def test_a_spec_of_junk_is_parsed_or_refused(spec: Any) -> None:
    obj = manifest()
    obj["spec"] = spec
    try:
        parse(obj)
    except SpecError as error:
        assert error.problems
        assert all(problem.path.startswith("spec") and problem.message for problem in error.problems)
