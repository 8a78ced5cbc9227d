"""Who says how many proxies there are: the spec, an autoscaler, and the spec again; without a jump in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_operator.kube import FIELD_MANAGER
from tests.support.scratch import NO_PODS, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

NAME = "handed-over"
NOBODY = {"nodeSelector": {"nobody.example/has": "this-label"}}
SCALING = {"minReplicas": 1, "maxReplicas": 9}


async def test_an_autoscaler_takes_over_from_the_number_that_was_and_gives_it_back(home: House) -> None:
    await home.create(NAME, {**NO_PODS, "proxy": {**NOBODY, "replicas": 3}})
    await home.condition(NAME, "ResourcesSynced", "True")
    assert await replicas(home) == 3

    await home.patch("BrokerCluster", NAME, {"spec": {"proxy": {"autoscaling": SCALING}}})
    await eventually(lambda: home.get("HorizontalPodAutoscaler", f"{NAME}-proxy"), "there is an autoscaler")
    await home.condition(NAME, "ResourcesSynced", "True")
    assert await replicas(home) == 3, "not the default, 1"

    await home.patch("Deployment", f"{NAME}-proxy", {"spec": {"replicas": 5}})
    await shows(home, "0/5")
    assert await replicas(home) == 5, "what the autoscaler sets stays"

    await home.patch("BrokerCluster", NAME, {"spec": {"proxy": {"autoscaling": None, "replicas": 2}}})
    await shows(home, "0/2")
    assert await replicas(home) == 2
    assert await home.get("HorizontalPodAutoscaler", f"{NAME}-proxy") is None
    await home.delete("BrokerCluster", NAME)


async def replicas(home: House) -> int:
    """What the Deployment says; the operator has applied it after it was last changed by the spec."""
    found = await home.get("Deployment", f"{NAME}-proxy")
    assert found
    assert any(entry["manager"] == FIELD_MANAGER for entry in found["metadata"]["managedFields"])
    return int(found["spec"]["replicas"])


async def shows(home: House, proxies: str) -> None:
    async def look() -> bool:
        found = await home.get("BrokerCluster", NAME)
        return bool(found) and found["status"]["proxies"] == proxies

    await eventually(look, f"the status shows {proxies} proxies")
