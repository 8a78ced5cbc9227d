"""What becomes of a BrokerCluster's objects, on a real API server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.operators import running
from tests.support.scratch import NO_PODS, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House


def expected(name: str) -> set[str]:
    return {
        f"ServiceAccount/{name}-broker",
        f"ServiceAccount/{name}-proxy",
        f"Service/{name}",
        f"Service/{name}-broker",
        f"Service/{name}-broker-headless",
        f"Deployment/{name}-broker",
        f"Deployment/{name}-proxy",
        f"ConfigMap/{name}-broker",
        f"ConfigMap/{name}-proxy",
        f"NetworkPolicy/{name}-broker",
        f"NetworkPolicy/{name}-proxy",
        f"ConfigMap/{name}-dashboard",
    }


async def synced(house: House, name: str) -> None:
    await house.condition(name, "ResourcesSynced", "True")


async def test_a_cluster_becomes_its_objects_and_leaves_none_when_it_is_deleted(home: House) -> None:
    await home.create("whole")
    await synced(home, "whole")
    assert expected("whole") <= set(await home.children("whole"))

    await home.delete("BrokerCluster", "whole")

    async def gone() -> bool:
        return not await home.children("whole") and not await home.get("BrokerCluster", "whole")

    await eventually(gone, "everything is gone")
    await eventually(lambda: forgotten(home, "whole"), "the operator forgets the cluster")


async def forgotten(house: House, name: str) -> bool:
    return f'name="{name}"' not in (await house.operator.http("/metrics"))[1]


async def test_no_finalizer_and_no_annotation_is_put_on_anything(home: House) -> None:
    await home.create("clean")
    await synced(home, "clean")
    found = await home.get("BrokerCluster", "clean")
    assert found
    assert not found["metadata"].get("finalizers")
    assert not found["metadata"].get("annotations")


async def test_a_deleted_object_comes_back(home: House) -> None:
    await home.create("mended")
    await synced(home, "mended")
    for kind, name in (("Deployment", "mended-proxy"), ("Service", "mended"), ("ConfigMap", "mended-proxy")):
        before = await home.get(kind, name)
        await home.delete(kind, name)

        async def back(kind: str = kind, name: str = name, old: Any = before) -> bool:
            found = await home.get(kind, name)
            return bool(found and found["metadata"]["uid"] != old["metadata"]["uid"])

        await eventually(back, f"{kind} {name} is back")


async def test_an_edited_object_is_put_right_and_the_other_writer_is_named(home: House) -> None:
    await home.create("edited")
    await synced(home, "edited")
    await home.patch("Service", "edited", {"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}})

    async def right() -> bool:
        found = await home.get("Service", "edited")
        return bool(found and found["spec"]["selector"]["app.kubernetes.io/component"] == "proxy")

    await eventually(right, "the selector is put right")
    assert "taking back .spec.selector" in home.operator.text


async def test_what_others_add_stays(home: House) -> None:
    await home.create("shared")
    await synced(home, "shared")
    await home.patch("Service", "shared", {"metadata": {"annotations": {"somebody.example/note": "mine"}}})
    await home.delete("ConfigMap", "shared-proxy")  # makes a pass

    async def back() -> bool:
        return await home.get("ConfigMap", "shared-proxy") is not None

    await eventually(back, "a pass was made")
    found = await home.get("Service", "shared")
    assert found
    assert found["metadata"]["annotations"] == {"somebody.example/note": "mine"}


async def test_what_is_switched_off_is_deleted_and_the_rest_is_not_touched(home: House) -> None:
    await home.create("trimmed")
    await synced(home, "trimmed")
    before = await home.children("trimmed")
    assert "ConfigMap/trimmed-dashboard" in before
    await home.patch("BrokerCluster", "trimmed", {"spec": {"monitoring": {"enabled": False}}})

    async def trimmed() -> bool:
        return not {name for name in await home.children("trimmed") if name.startswith("ServiceMonitor/")}

    await eventually(trimmed, "the monitors are deleted")
    await home.condition("trimmed", "MonitoringReady", "Unknown", "Disabled")
    after = await home.children("trimmed")
    assert after == {name: version for name, version in before.items() if name in after}


async def test_an_object_of_somebody_else_is_left_alone(home: House) -> None:
    taken = {"name": "taken", "namespace": home.namespace}
    ports = [{"name": "web", "port": 80, "protocol": "TCP"}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": taken, "spec": {"ports": ports}}
    await home.kube.request("POST", f"/api/v1/namespaces/{home.namespace}/services", body=service)
    await home.create("taken")
    condition = await home.condition("taken", "ResourcesSynced", "False", "NameTaken")
    assert "Service taken exists and does not belong to this BrokerCluster" in condition["message"]
    found = await home.get("Service", "taken")
    assert found
    assert found["spec"]["ports"][0]["port"] == 80

    await home.delete("Service", "taken")
    await synced(home, "taken")


async def test_a_volume_claim_survives_as_long_as_its_cluster(home: House) -> None:
    await home.create("stored", {**NO_PODS, "storage": {"type": "SQLite", "sqlite": {"size": "16Mi"}}})
    await synced(home, "stored")
    claim = await home.get("PersistentVolumeClaim", "stored-broker-data")
    assert claim
    # As if a later version of the renderer no longer asked for it: the label alone is no reason to delete data.
    await home.patch("BrokerCluster", "stored", {"spec": {"monitoring": {"enabled": False}}})
    await home.condition("stored", "MonitoringReady", "Unknown")
    after = await home.get("PersistentVolumeClaim", "stored-broker-data")
    assert after
    assert after["metadata"]["uid"] == claim["metadata"]["uid"]


async def test_a_steady_state_writes_nothing(house: House) -> None:
    await house.create("steady", {**NO_PODS, "storage": {"type": "SQLite"}})
    await synced(house, "steady")
    await quiet(house)
    children, cluster = await house.children("steady"), await house.get("BrokerCluster", "steady")
    passes, applies = await house.operator.passes(), patches(house)
    for number in range(3):
        # An annotation of somebody else is news without meaning: it makes a pass.
        before = await house.operator.passes()
        await house.patch("Service", "steady", {"metadata": {"annotations": {"somebody.example/number": str(number)}}})

        async def passed(before: float = before) -> bool:
            return await house.operator.passes() > before

        await eventually(passed, "a pass was made")
    await quiet(house)
    assert await house.operator.passes() >= passes + 3
    after, now = await house.children("steady"), await house.get("BrokerCluster", "steady")
    assert {**after, "Service/steady": ""} == {**children, "Service/steady": ""}
    assert cluster
    assert now
    assert now["metadata"]["resourceVersion"] == cluster["metadata"]["resourceVersion"]
    assert patches(house) == applies + 3, "of the objects, only the one that somebody touched was applied again"


def patches(house: House) -> int:
    return len([request for request in house.proxy.requests if request.verb == "patch"])


async def test_another_operator_finds_nothing_to_do(house: House, tmp_path: Path) -> None:
    await house.create("handed-over", {**NO_PODS, "storage": {"type": "SQLite"}})
    await synced(house, "handed-over")
    await house.operator.stop()
    # The API server itself rewrites a new volume claim once, on the first apply after the one that made it.
    await one_pass(house, tmp_path / "second.log")
    children, cluster = await house.children("handed-over"), await house.get("BrokerCluster", "handed-over")
    await one_pass(house, tmp_path / "third.log")
    after = await house.get("BrokerCluster", "handed-over")
    assert cluster
    assert after
    assert await house.children("handed-over") == children
    assert after["metadata"]["resourceVersion"] == cluster["metadata"]["resourceVersion"]


async def one_pass(house: House, log: Path) -> None:
    """Have an operator that knows nothing yet look at everything."""
    async with running(house.config, house.namespace, log) as operator:

        async def passed() -> bool:
            return await operator.passes() > 0

        await eventually(passed, "a pass was made")


async def quiet(house: House) -> None:
    """Wait until passes no longer follow one another."""

    async def still() -> bool:
        before = await house.operator.passes()
        await asyncio.sleep(1)
        return before == await house.operator.passes()

    await eventually(still, "the operator comes to rest")
