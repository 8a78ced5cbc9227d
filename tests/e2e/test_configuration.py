"""Changed configurations reach running proxies; one that Envoy refuses is told and harms nobody."""

import base64
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.installed import Client, Cluster
from tests.e2e.kubectl import Kubectl, eventually

LIVE_WITHIN_SECONDS = 5.0
KUBELET_SECONDS = 180.0
"""It may look at ConfigMaps once a minute."""


def rules(requests: int) -> dict[str, Any]:
    """So many requests an hour for one subject, so that nothing refills while a test looks."""
    subject = {"type": "Exact", "value": "busy"}
    return {"rules": [{"name": "busy", "subject": subject, "limit": {"requests": requests, "unit": "Hour"}}]}


@pytest.fixture(scope="module")
def reloading(start: Start) -> Cluster:
    return start("reloading", {"storage": {"type": "Memory"}, "proxy": {"replicas": 2, "rateLimit": rules(10)}})


def running(cluster: Cluster) -> tuple[str, list[str]]:
    """The latest version of the configuration, and what each proxy runs."""
    config = cluster.get()["status"].get("proxyConfig") or {}
    return config.get("version", ""), [each.get("version", "") for each in config.get("proxies", [])]


def everywhere(cluster: Cluster, old: str = "") -> bool:
    """Whether both proxies run the latest version, which is not the old one."""
    version, versions = running(cluster)
    return version not in ("", old) and versions == [version] * 2


def pods(cluster: Cluster) -> list[str]:
    return sorted(pod["metadata"]["uid"] for pod in cluster.pods("proxy"))


def test_a_change_is_live_soon_after_the_kubelet_has_it_and_cuts_no_stream(
    reloading: Cluster, client: Client, timing: Callable[[str, float], None]
) -> None:
    eventually(lambda: everywhere(reloading), "the status says that both proxies run the configuration")
    (before, _), proxies = running(reloading), pods(reloading)
    with client.running("load", reloading.address, "other") as load:
        load.expect("flowing")
        reloading.patch({"proxy": {"rateLimit": rules(20)}})
        eventually(lambda: everywhere(reloading, before), "both proxies run the changed one", KUBELET_SECONDS)
        reloading.settle()
        load.stop()
        account = load.expect("account")
    assert (account["connections_lost"], account["failed"], account["missing"]) == (0, 0, [])
    assert pods(reloading) == proxies
    delay = max(live_after(reloading.kubectl, pod["metadata"]["name"]) for pod in reloading.pods("proxy"))
    timing("a changed limit, from the kubelet's update to live in Envoy", delay)
    assert delay <= LIVE_WITHIN_SECONDS


def live_after(kubectl: Kubectl, pod: str) -> float:
    """How long after the kubelet changed the files Envoy had taken them, in seconds; both clocks are the node's."""
    code = "import os; print(os.lstat('/etc/envoy/..data').st_ctime)"
    changed = float(kubectl("exec", pod, "--container=envoy", "--", "python3", "-c", code))
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}:8080/proxy/stats/prometheus"
    taken = re.findall(r"^envoy_http_rds_update_time\{.*\} (\d+)", kubectl("get", "--raw", path), re.MULTILINE)
    assert taken
    return max(map(int, taken)) / 1000 - changed


def test_a_configuration_that_envoy_refuses_is_told_in_its_words_and_harms_nobody(
    reloading: Cluster, client: Client
) -> None:
    nonsense = base64.b64encode(b"nonsense").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nonsense"}, "type": "kubernetes.io/tls"}
    reloading.kubectl.apply({**secret, "data": {"tls.crt": nonsense, "tls.key": nonsense}})
    proxies = pods(reloading)
    reloading.patch({"proxy": {"tls": {"secretName": "nonsense"}}})
    eventually(lambda: reloading.condition("ProxyReady").get("reason") == "ConfigRejected", "it is refused")
    condition = reloading.condition("ProxyReady")
    assert condition["status"] == "False"
    assert "certificate" in condition["message"]
    assert reloading.condition("Degraded")["reason"] == "ConfigRejected"
    assert set(proxies) <= set(pods(reloading)), "those that serve are not replaced"
    assert client.run("converse", reloading.address, "meanwhile")["published"]
    reloading.patch({"proxy": {"tls": None}})
    reloading.settle()
    assert reloading.condition("Degraded")["status"] == "False"


def test_a_secret_that_is_missing_is_named(reloading: Cluster, client: Client) -> None:
    proxies = pods(reloading)
    reloading.patch({"proxy": {"tls": {"secretName": "nobody-made-it"}}})
    eventually(lambda: reloading.condition("Degraded").get("reason") == "SecretMissing", "it is missing")
    assert reloading.condition("Degraded")["message"].startswith("Secret nobody-made-it does not exist")
    assert reloading.condition("Ready")["status"] == "True"
    assert set(proxies) <= set(pods(reloading)), "those that serve are not replaced"
    assert client.run("converse", reloading.address, "without-a-secret")["published"]
    reloading.patch({"proxy": {"tls": None}})
    reloading.settle()


def test_nothing_but_probes_and_metrics_is_told_to_other_pods(reloading: Cluster) -> None:
    pod = reloading.pods("proxy")[0]["metadata"]["name"]
    raw = f"/api/v1/namespaces/{reloading.kubectl.namespace}/pods/{pod}:8080/proxy"
    assert "version_text" in reloading.kubectl("get", "--raw", f"{raw}/config")
    for path in ("config_dump", "clusters", "certs"):
        with pytest.raises(Exception, match=r"could not find|not found|NotFound"):
            reloading.kubectl("get", "--raw", f"{raw}/{path}")
