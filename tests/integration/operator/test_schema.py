"""The CRD on a real API server: it refuses what the parser refuses, and fills in the same defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_operator.api import parse
from broker_operator.kube import BROKER_CLUSTER, Invalid, Kube, KubeError, Manifest, kind_of
from broker_operator.render import RenderSettings, render
from tests.support.clusters import access, each, exact, limited, manifest, postgres, total
from tests.support.invalid_specs import INVALID_SPECS, InvalidSpec
from tests.support.scratch import Scratch

SAMPLES = sorted((Path(__file__).parents[3] / "manifests" / "samples").glob("*.yaml"))
STRICT = [("dryRun", "All"), ("fieldValidation", "Strict")]


async def dry_run(kube: Kube, obj: Manifest) -> Manifest:
    """Creates without storing; unknown fields are errors, as with `kubectl apply`."""
    kind = BROKER_CLUSTER if obj["kind"] == BROKER_CLUSTER.kind else kind_of(obj)
    path = kind.path(obj["metadata"]["namespace"])
    return await kube.request("POST", path, query=STRICT, body=obj)


def in_room(room: Scratch, spec: Mapping[str, Any], name: str = "orders") -> Manifest:
    obj = manifest(spec, name)
    obj["metadata"] = {"name": name, "namespace": room.namespace}
    return obj


async def test_invalid_specs_are_refused_where_the_parser_refuses_them(kube: Kube, room: Scratch) -> None:
    for case in INVALID_SPECS:
        with pytest.raises(KubeError) as refused:
            await dry_run(kube, in_room(room, case.spec))
        assert refused.value.status in (400, 422), case.name
        assert blamed(case, refused.value), f"{case.name}: {case.path} is not to blame in: {refused.value}"


def blamed(case: InvalidSpec, error: KubeError) -> bool:
    """The API server names the field, or the object it is in."""
    path = case.path.split("[app.")[0].replace("[team]", ".team").replace("[cpu]", ".cpu")
    fields = [*error.fields, *(word.strip('",') for word in error.message.split() if "spec." in word)]
    return any(path.startswith(field) or field.startswith(path) for field in fields if field.startswith("spec."))


async def test_the_defaults_are_those_of_the_parser(kube: Kube, room: Scratch) -> None:
    for spec in (
        {},
        limited(total(1), each(2), exact("a", 3)),
        {"storage": {"sqlite": {}}, "broker": {"tolerations": [{}]}},
        postgres(3),
        access({"from": "APIKey"}, grpcWeb={}, autoscaling={"maxReplicas": 3}, connections={"idleSeconds": 60}),
        limited({**total(1), "client": {"type": "Distinct", "from": "Address"}}, service={"address": "limits.svc:80"}),
    ):
        stored = await dry_run(kube, in_room(room, spec))
        assert parse(stored).spec == parse(manifest(spec)).spec


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
async def test_samples_are_accepted(kube: Kube, room: Scratch, file: Path) -> None:
    sample = yaml.safe_load(file.read_text())
    await dry_run(kube, in_room(room, sample["spec"], sample["metadata"]["name"]))


@pytest.mark.parametrize("name", ["a" * 41, "1a", "a.b"])
async def test_names_that_no_service_can_have_are_refused(kube: Kube, room: Scratch, name: str) -> None:
    with pytest.raises(Invalid, match=r"metadata\.name"):
        await dry_run(kube, in_room(room, {}, name))


MEMORY = {"replicas": 0, "storage": {"type": "Memory"}, "proxy": {"replicas": 0}}
SQLITE = {"replicas": 0, "storage": {"type": "SQLite", "sqlite": {"size": "2Gi"}}, "proxy": {"replicas": 0}}

POSTGRES = {**postgres(replicas=0), "proxy": {"replicas": 0}}


def sqlite(**fields: str) -> dict[str, Any]:
    return {"storage": {"sqlite": fields}}


@pytest.mark.parametrize(
    ("before", "change", "message"),
    [
        (MEMORY, {"storage": {"type": "SQLite"}}, "the storage type cannot be changed"),
        (SQLITE, sqlite(size="1Gi"), "can grow, not shrink"),
        (SQLITE, {"storage": {"sqlite": None}}, "can grow, not shrink"),
        (SQLITE, sqlite(storageClassName="fast"), "storageClassName cannot be changed"),
        (SQLITE, {"replicas": 2}, "storage type SQLite allows at most 1 replica"),
        (POSTGRES, {"storage": {"type": "SQLite", "postgres": None}}, "the storage type cannot be changed"),
        (POSTGRES, {"storage": {"postgres": None}}, "is required for storage type Postgres"),
    ],
)
async def test_changes_that_are_refused(
    room: Scratch, before: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    await room.create("orders", before)
    with pytest.raises(Invalid, match=message):
        await room.patch("BrokerCluster", "orders", {"spec": change})


async def test_changes_that_are_accepted(room: Scratch) -> None:
    await room.create("orders", SQLITE)
    for change in (sqlite(size="2048Mi"), sqlite(size="3Gi"), {"replicas": 1}, {"replicas": 0}):
        await room.patch("BrokerCluster", "orders", {"spec": change})


async def test_another_database_is_accepted(room: Scratch) -> None:
    await room.create("orders", POSTGRES)
    await room.patch(
        "BrokerCluster", "orders", {"spec": {"storage": {"postgres": {"dsnSecretRef": {"name": "other"}}}}}
    )


@pytest.mark.parametrize(("before", "most"), [(MEMORY, 1), (POSTGRES, 100)])
async def test_scaling_keeps_to_the_rules(kube: Kube, room: Scratch, before: dict[str, Any], most: int) -> None:
    await room.create("orders", before)
    path = BROKER_CLUSTER.path(room.namespace, "orders", "scale")
    for replicas, accepted in ((1, True), (most, True), (most + 1, False)):
        body = {"spec": {"replicas": replicas}}
        patch = kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        if accepted:
            assert (await patch)["spec"]["replicas"] == replicas
        else:
            with pytest.raises(Invalid, match=r"at most 1 replica|less than or equal to 100"):
                await patch


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"storage": {"type": "Memory"}, **limited(each(5))},
        {"proxy": {"replicas": 2}},
        postgres(3),
        access({"from": "Token"}, grpcWeb={}, autoscaling={"maxReplicas": 3}),
    ],
)
async def test_every_rendered_object_is_accepted_without_unknown_fields(
    kube: Kube, room: Scratch, spec: dict[str, Any]
) -> None:
    cluster = replace(parse(manifest(spec)), namespace=room.namespace)
    settings = RenderSettings("brokercluster/broker:0.1.0", "brokercluster/proxy:0.1.0", "0.1.0", frozenset())
    for obj in render(cluster, settings):
        await dry_run(kube, obj)


@pytest.mark.parametrize("spec", [{}, postgres(3), access()], ids=["defaults", "postgres", "access"])
async def test_pods_are_admitted_where_only_restricted_pods_are(
    kube: Kube, room: Scratch, spec: dict[str, Any]
) -> None:
    path = f"/api/v1/namespaces/{room.namespace}"
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    await kube.request("PATCH", path, body=strict, content_type="application/merge-patch+json")
    cluster = replace(parse(manifest(spec)), namespace=room.namespace)
    settings = RenderSettings("brokercluster/broker:0.1.0", "brokercluster/proxy:0.1.0", "0.1.0", frozenset())
    for obj in render(cluster, settings):
        if obj["kind"] == "ServiceAccount":
            await kube.create(kind_of(obj), without_owner(obj))
        if obj["kind"] == "Deployment":
            template = obj["spec"]["template"]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                **template,
                "metadata": {**template["metadata"], "generateName": "a-"},
            }
            await kube.request("POST", f"{path}/pods", query=STRICT, body=pod)
            with pytest.raises(KubeError, match="violates PodSecurity"):
                await kube.request("POST", f"{path}/pods", query=STRICT, body=without_security(pod))


def without_owner(obj: Manifest) -> Manifest:
    return {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name != "ownerReferences"}}


def without_security(pod: Manifest) -> Manifest:
    return {**pod, "spec": {**pod["spec"], "securityContext": {}}}
