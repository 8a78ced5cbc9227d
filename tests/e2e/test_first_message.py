"""From `kubectl apply` of a sample to its first message."""

import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.installed import MANIFESTS, Client, Cluster
from tests.e2e.kubectl import Kubectl
from tests.e2e.programs.converse import converse
from tests.e2e.volumes import volume_for

SAMPLE = MANIFESTS / "samples" / "sqlite.yaml"


@pytest.fixture(scope="module")
def orders(place: Kubectl, client: Client, timing: Callable[[str, float], None]) -> Iterator[Cluster]:
    """The sample as it stands in the repository."""
    with volume_for(place, "orders-broker-data"):
        started = time.monotonic()
        place("apply", "-f", str(SAMPLE))
        cluster = Cluster("orders", place)
        cluster.wait_ready()
        timing("sample, from apply to Ready", time.monotonic() - started)
        started = time.monotonic()
        client.run("converse", cluster.address, "first")
        timing("from Ready to the first message in a subscriber's hands", time.monotonic() - started)
        yield cluster
        place.delete("-f", str(SAMPLE))


def test_a_pod_publishes_subscribes_and_fetches(orders: Cluster, client: Client) -> None:
    answer = client.run("converse", orders.address, "from-a-pod")
    message = [1, "hello from from-a-pod"]
    assert (answer["published"], answer["received"], answer["fetched"]) == (message, message, message)


async def test_so_does_a_client_outside_by_port_forward(orders: Cluster) -> None:
    with orders.kubectl.port_forward(f"service/{orders.name}", 50051) as address:
        answer = await converse(address, "from-outside")
    message = [1, "hello from from-outside"]
    assert (answer["published"], answer["received"], answer["fetched"]) == (message, message, message)


def test_prometheus_is_told_where_to_scrape(orders: Cluster) -> None:
    monitors = {each["metadata"]["name"]: each for each in orders.kubectl.list("servicemonitors")}
    assert set(monitors) == {"orders-broker", "orders-proxy"}
    for monitor in monitors.values():
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = monitor["spec"]["endpoints"]
        assert scraped(orders, monitor["spec"]["selector"]["matchLabels"], endpoint)


def scraped(orders: Cluster, labels: dict[str, str], endpoint: dict[str, str]) -> str:
    """What Prometheus would get: from the one Service with these labels and this port."""
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    services = [
        service["metadata"]["name"]
        for service in orders.kubectl.list("services", f"--selector={selector}")
        if endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    ]
    assert len(services) == 1, f"{services}: each target would be scraped {len(services)} times"
    path = f"/api/v1/namespaces/{orders.kubectl.namespace}/services/{services[0]}:{endpoint['port']}/proxy"
    return orders.kubectl("get", "--raw", f"{path}{endpoint['path']}")


def test_the_image_has_the_native_door(orders: Cluster) -> None:
    pod = f"/api/v1/namespaces/{orders.kubectl.namespace}/pods/{orders.pod('broker')}:8080/proxy"
    doors = re.findall(r'^broker_info{.*door="(\w+)"', orders.kubectl("get", "--raw", f"{pod}/metrics"), re.MULTILINE)
    assert doors == ["native"]


def test_grafana_finds_the_dashboard(orders: Cluster) -> None:
    (dashboard,) = orders.kubectl.list("configmaps", "--selector=grafana_dashboard=1")
    assert dashboard["metadata"]["name"] == "orders-dashboard"
    assert all('"panels"' in text for text in dashboard["data"].values())


def test_the_status_speaks_to_people(orders: Cluster) -> None:
    table = orders.kubectl("get", "brokercluster", "orders")
    header, row = table.splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "BROKERS", "PROXIES", "STORE", "AGE"]
    assert row.split()[:2] == ["orders", "True"]
    assert orders.condition("MonitoringReady")["status"] == "True"
