"""What users, others and mistakes change, and what becomes of it."""

import pytest

from tests.e2e.conftest import Start
from tests.e2e.installed import Client, Cluster
from tests.e2e.kubectl import Kubectl, KubectlError, eventually

SOON = 15.0


@pytest.fixture(scope="module")
def changing(start: Start) -> Cluster:
    return start("changing", {"storage": {"type": "Memory"}})


def test_changed_resources_and_limits_reach_the_pods(changing: Cluster, client: Client) -> None:
    resources = {"requests": {"cpu": "60m", "memory": "80Mi"}, "limits": {"memory": "300Mi"}}
    changing.patch({"broker": {"resources": resources}, "limits": {"maxBodyBytes": "1Ki"}})
    changing.settle()
    (pod,) = changing.pods("broker")
    assert pod["spec"]["containers"][0]["resources"] == resources
    assert client.run("publish", changing.address, "sizes", "1024") == "OK"
    assert client.run("publish", changing.address, "sizes", "1025") == "INVALID_ARGUMENT BODY_TOO_LARGE"


@pytest.mark.parametrize("child", ["service/changing", "deployment/changing-proxy", "configmap/changing-proxy"])
def test_a_deleted_child_comes_back(changing: Cluster, place: Kubectl, child: str) -> None:
    before = place.get(child)["metadata"]["uid"]
    place.delete(child)
    eventually(lambda: (place.get(child) or {"metadata": {"uid": before}})["metadata"]["uid"] != before, child, SOON)
    changing.settle()


def test_an_edited_child_is_put_right(changing: Cluster, place: Kubectl) -> None:
    place("scale", "deployment/changing-broker", "--replicas=0")
    place.patch("configmap", "changing-proxy", {"data": {"rds.json": "broken"}})
    place.patch("service", "changing", {"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}})
    eventually(lambda: place.get("deployment/changing-broker")["spec"]["replicas"] == 1, "replicas are back", SOON)
    eventually(lambda: place.get("configmap/changing-proxy")["data"]["rds.json"] != "broken", "routes are back", SOON)
    eventually(
        lambda: place.get("service/changing")["spec"]["selector"]["app.kubernetes.io/component"] == "proxy",
        "the selector is back",
        SOON,
    )
    changing.settle()


def test_a_spec_that_cannot_work_is_degraded_and_names_the_field(changing: Cluster, client: Client) -> None:
    """More requested than allowed: the schema cannot see it, the API server refuses the Deployment."""
    (before,) = changing.pods("broker")
    changing.patch({"broker": {"resources": {"requests": {"memory": "400Mi"}, "limits": {"memory": "300Mi"}}}})
    eventually(lambda: changing.condition("Degraded").get("status") == "True", "Degraded")
    degraded = changing.condition("Degraded")
    assert "resources.requests" in degraded["message"]
    assert degraded["observedGeneration"] == changing.get()["metadata"]["generation"]
    (after,) = changing.pods("broker")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    changing.patch({"broker": {"resources": {"requests": {"memory": "80Mi"}, "limits": {"memory": "300Mi"}}}})
    changing.settle()
    assert changing.condition("Degraded")["status"] == "False"


def test_the_schema_refuses_what_it_can_see(changing: Cluster) -> None:
    rule = {"name": "wrong", "limit": {"requests": 10, "burst": 5}}
    with pytest.raises(KubectlError, match=r"spec\.proxy\.rateLimit\.rules\[0\]\.limit.*burst"):
        changing.patch({"proxy": {"rateLimit": {"rules": [rule]}}})
