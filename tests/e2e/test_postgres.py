"""Several brokers on one PostgreSQL database are one broker, whatever becomes of them and of the database."""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import attempt
from tests.e2e.installed import Client, Cluster, broker_cluster
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.postgres import Postgres, secret, uri
from tests.e2e.test_failures import NOW, nothing_is_missing


def spec(secret_name: str, replicas: int) -> dict[str, object]:
    storage = {"type": "Postgres", "postgres": {"dsnSecretRef": {"name": secret_name}, "poolSize": 4}}
    return {"replicas": replicas, "storage": storage, "proxy": {"replicas": 2}}


@pytest.fixture(scope="module")
def postgres(place: Kubectl) -> Postgres:
    return Postgres(place).start()


@pytest.fixture(scope="module")
def orders(place: Kubectl, postgres: Postgres, timing: Callable[[str, float], None]) -> Iterator[Cluster]:
    """Three brokers behind two proxies."""
    place.apply(secret("orders-db", postgres.new_database("orders", "first")))
    started = time.monotonic()
    place.apply(broker_cluster("orders", spec("orders-db", replicas=3)))
    cluster = Cluster("orders", place)
    cluster.wait_ready()
    cluster.settle()
    timing("three brokers on PostgreSQL, from apply to settled", time.monotonic() - started)
    yield cluster
    place.delete("brokercluster", "orders")


def test_it_is_what_was_asked_for(orders: Cluster) -> None:
    assert (len(orders.pods("broker")), len(orders.pods("proxy"))) == (3, 2)
    assert orders.condition("StoreReachable")["status"] == "True"
    assert orders.kubectl.get("networkpolicy", "orders-broker")
    for name in ("orders-broker", "orders-proxy"):
        assert orders.kubectl.get("poddisruptionbudget", name)["status"]["disruptionsAllowed"] == 1
    assert orders.restarts() == 0


def test_subscribers_of_all_brokers_get_what_is_published_through_any(orders: Cluster, client: Client) -> None:
    with client.running("fanout", orders.address, "everywhere") as fanout:
        fanout.expect("subscribed")
        subscriptions = [metric(orders, pod, "broker_subscriptions") for pod in names(orders, "broker")]
        fanout.stop()
        delivered = fanout.expect("delivered")
    assert len([count for count in subscriptions if count]) > 1, "the subscriptions are spread over brokers"
    published = {f"{kind}-{number}" for kind in ("kept", "live") for number in range(6)}
    assert set(delivered["bodies"]) == published
    assert delivered["ids"] == list(range(1, 13))
    assert delivered["different"] == 0


def test_scaling_under_load_loses_nothing(orders: Cluster, client: Client) -> None:
    before = set(names(orders, "broker"))
    with client.running("load", orders.address, "scaled") as load:
        load.expect("flowing")
        for replicas in (2, 3):
            orders.kubectl("scale", "brokercluster/orders", f"--replicas={replicas}")
            orders.settle()
            assert len(orders.pods("broker")) == replicas
        load.stop()
        account = load.expect("account", "resumed")
    nothing_is_missing(account)
    assert account["failed"] == 0
    assert len(before & set(names(orders, "broker"))) == 2, "scaling restarts nobody"


def test_a_rollout_of_the_brokers_under_load_loses_nothing_and_fails_no_publish(
    orders: Cluster, client: Client
) -> None:
    with client.running("load", orders.address, "rolled") as load:
        load.expect("flowing")
        orders.patch({"broker": {"podAnnotations": {"example.com/roll": "1"}}})
        orders.settle()
        load.expect("resumed")
        load.stop()
        account = load.expect("account", "resumed")
    nothing_is_missing(account)
    assert account["failed"] == 0


def test_nothing_acknowledged_is_lost_when_a_broker_is_killed_under_load(orders: Cluster, client: Client) -> None:
    with client.running("load", orders.address, "killed") as load:
        load.expect("flowing")
        for pod in names(orders, "broker")[:2]:
            orders.kubectl.delete("pod", pod, *NOW)
        orders.settle()
        load.stop()
        account = load.expect("account", "resumed")
    nothing_is_missing(account)


def test_nothing_acknowledged_is_lost_when_the_database_restarts_under_load(
    orders: Cluster, postgres: Postgres, client: Client
) -> None:
    before = names(orders, "broker")
    with client.running("load", orders.address, "restarted") as load:
        load.expect("flowing")
        postgres.restart()
        assert client.run("publish", orders.address, "after-restart", "1") == "OK"
        load.stop()
        account = load.expect("account", "resumed")
    nothing_is_missing(account)
    orders.settle()
    assert names(orders, "broker") == before
    assert orders.restarts() == 0


def test_a_rotated_password_reaches_running_brokers(orders: Cluster, postgres: Postgres, client: Client) -> None:
    before = names(orders, "broker")
    orders.kubectl.apply(secret("orders-db", uri("orders", "second")))
    postgres.change_password("orders", "second")
    eventually(lambda: client.run("publish", orders.address, "rotated", "1") == "OK", "publishing goes on")
    for pod in before:
        eventually(lambda pod=pod: ready(orders, pod), f"{pod} is ready")  # type: ignore[misc] # bound now
    assert names(orders, "broker") == before
    assert orders.restarts() == 0


def test_what_is_wrong_with_the_database_is_told_and_mended_without_touching_pods(
    place: Kubectl, postgres: Postgres, client: Client
) -> None:
    """No Secret, then a wrong password in it, then the right one."""
    postgres.new_database("mended", "right")
    place.apply(broker_cluster("mended", spec("mended-db", replicas=2)))
    cluster = Cluster("mended", place)
    eventually(lambda: len(cluster.pods("broker")) == 2, "the brokers are there")
    told(cluster, "cannot be read", "Secret mended-db, key uri")
    pods = names(cluster, "broker")
    place.apply(secret("mended-db", uri("mended", "wrong")))
    message = told(cluster, "password authentication failed", "postgres:5432/mended")
    assert "wrong" not in message
    assert cluster.condition("Ready")["reason"] == "StoreUnavailable"
    assert cluster.condition("Degraded")["status"] == "True"
    place.apply(secret("mended-db", uri("mended", "right", database="nowhere")))
    told(cluster, "does not exist", "postgres:5432/nowhere")
    place.apply(secret("mended-db", uri("mended", "right")))
    cluster.wait_ready()
    cluster.settle()
    assert cluster.condition("StoreReachable")["status"] == "True"
    assert names(cluster, "broker") == pods
    assert cluster.restarts() == 0
    assert client.run("publish", cluster.address, "mended", "1") == "OK"
    place.delete("brokercluster", "mended")


def told(cluster: Cluster, *words: str) -> str:
    """Wait until StoreReachable is False and says all these words; returns what it says."""

    def said() -> str:
        condition = cluster.condition("StoreReachable")
        message = condition.get("message", "")
        found = condition.get("status") == "False" and all(word in message for word in words)
        return message if found else ""

    return eventually(said, f"StoreReachable says {words}; it says {cluster.condition('StoreReachable')}")


def names(cluster: Cluster, component: str) -> list[str]:
    """The names of its pods of a component."""
    return sorted(pod["metadata"]["name"] for pod in cluster.pods(component))


def ready(cluster: Cluster, pod: str) -> bool:
    """Whether a broker says itself that it is ready."""
    path = f"/api/v1/namespaces/{cluster.kubectl.namespace}/pods/{pod}:8080/proxy/readyz"
    return attempt(cluster.kubectl, "get", "--raw", path).strip() == "ok"


def metric(cluster: Cluster, pod: str, name: str) -> float:
    """A metric without labels, as one broker shows it."""
    path = f"/api/v1/namespaces/{cluster.kubectl.namespace}/pods/{pod}:8080/proxy/metrics"
    found = re.search(rf"^{name} (\S+)$", cluster.kubectl("get", "--raw", path), re.MULTILINE)
    assert found, f"{pod} shows no {name}"
    return float(found[1])
