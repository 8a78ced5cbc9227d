"""Pods die; messages do not."""

from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.installed import OPERATOR, OPERATOR_NAMESPACE, Client, Cluster
from tests.e2e.kubectl import Kubectl, eventually

NOW = ("--grace-period=0", "--force", "--wait=false")


@pytest.fixture(scope="module")
def durable(start: Start) -> Cluster:
    return start("durable", {"storage": {"type": "SQLite"}, "proxy": {"replicas": 2}})


def test_messages_survive_the_broker_pod(durable: Cluster, client: Client) -> None:
    before = client.run("converse", durable.address, "kept")
    pod = durable.pod("broker")
    durable.kubectl.delete("pod", pod)
    durable.settle()
    assert durable.pod("broker") != pod
    # It waited for the old one to let go of the file; one that gives up comes back later and later.
    assert durable.restarts() == 0
    assert client.run("fetch", durable.address, "kept", str(before["published"][0])) == before["fetched"][1]
    # Ids go on where they were: none is given twice.
    assert client.run("converse", durable.address, "kept")["published"][0] == before["published"][0] + 1


def test_nothing_acknowledged_is_lost_when_the_broker_is_killed_under_load(durable: Cluster, client: Client) -> None:
    with client.running("load", durable.address, "broker-killed") as load:
        load.expect("flowing")
        durable.kubectl.delete("pod", durable.pod("broker"), *NOW)
        load.expect("resumed")
        load.stop()
        account = load.expect("account")
    nothing_is_missing(account)
    assert account["connections_lost"] >= 1
    durable.settle()
    assert durable.restarts() == 0


def test_nothing_acknowledged_is_lost_when_a_proxy_is_killed_under_load(durable: Cluster, client: Client) -> None:
    with client.running("load", durable.address, "proxy-killed") as load:
        load.expect("flowing")
        for pod in durable.pods("proxy"):
            durable.kubectl.delete("pod", pod["metadata"]["name"], *NOW)
        load.expect("resumed")
        load.stop()
        account = load.expect("account")
    nothing_is_missing(account)
    durable.settle()


def test_a_rollout_of_the_proxies_fails_no_call(durable: Cluster, client: Client) -> None:
    with client.running("load", durable.address, "proxies-roll") as load:
        load.expect("flowing")
        durable.patch({"proxy": {"podAnnotations": {"example.com/roll": "1"}}})
        durable.settle()
        load.expect("resumed")
        load.stop()
        account = load.expect("account")
    nothing_is_missing(account)
    assert account["failed"] == 0


def nothing_is_missing(account: dict[str, Any]) -> None:
    assert account["missing"] == []
    assert account["dense_and_in_order"]
    assert account["received"] >= account["acknowledged"] > 0


def test_brokers_do_not_notice_that_the_operator_is_killed(durable: Cluster, kubectl: Kubectl) -> None:
    before = versions(durable)
    system = kubectl.within(OPERATOR_NAMESPACE)
    (pod,) = system.list("pods", "--selector=app.kubernetes.io/name=broker-operator")
    system.delete("pod", pod["metadata"]["name"], *NOW)
    system("rollout", "status", OPERATOR, "--timeout=120s")
    # A repaired child shows that the new operator has made a pass over this cluster.
    durable.kubectl.delete("service", "durable-broker")
    eventually(lambda: durable.kubectl.get("service", "durable-broker"), "the new operator works")
    durable.settle()
    assert versions(durable) == before


def versions(cluster: Cluster) -> dict[str, Any]:
    """What changes when pods are replaced or restarted, or when a Deployment is written."""
    deployments = cluster.kubectl.list("deployments")
    pods = [pod["metadata"]["uid"] for component in ("broker", "proxy") for pod in cluster.pods(component)]
    generations = {each["metadata"]["name"]: each["metadata"]["generation"] for each in deployments}
    return {**generations, "pods": sorted(pods), "restarts": cluster.restarts()}
