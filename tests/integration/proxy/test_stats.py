"""What a proxy tells on its HTTP port, over TCP as from the pod network, and the startup probe that asks there."""

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.backend import running_backend
from tests.support.clusters import each, limited
from tests.support.envoy import Proxy, caller, running_envoy

STARTED = Path(__file__).parents[3] / "proxy" / "started.py"
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def get(proxy: Proxy, path: str, method: str = "GET") -> tuple[int, str]:
    return await asyncio.to_thread(_get, f"http://{proxy.stats_address}{path}", method)


def _get(url: str, method: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


async def test_prometheus_gets_metrics_with_the_labels_of_calls() -> None:
    async with running_backend() as backend:
        async with running_envoy(limited(each(1)), [backend.port]) as proxy, caller(proxy.address) as client:
            await client.publish("a")
            with pytest.raises(grpc.aio.AioRpcError):
                await client.publish("a")
            assert (await get(proxy, "/ready"))[0] == 200
            status, text = await get(proxy, "/stats/prometheus")
    assert status == 200
    tags = 'envoy_cluster_name="broker",grpc_service="broker.Broker",grpc_method="Publish"'
    assert f"envoy_cluster_grpc_0{{{tags}}} 1" in text
    assert 'envoy_http_local_rate_limit_rate_limited{envoy_local_http_ratelimit_prefix="broker"} 1' in text


async def test_the_versions_of_the_configuration_are_told_and_no_other_statistic() -> None:
    async with running_envoy({}, [1]) as proxy:
        status, text = await get(proxy, "/config")
        names = {stat["name"] for stat in json.loads(text)["stats"]}
    assert status == 200
    parts = ("listener_manager.lds", "cluster_manager.cds", "http.ingress.rds.broker")
    facts = ("version_text", "update_rejected", "update_failure")
    assert {f"{part}.{fact}" for part in parts for fact in facts} <= names
    assert {name.rpartition(".")[2] for name in names} == set(facts)
    assert not [name for name in names if name.startswith("cluster.")]


ADMIN = (
    "/",
    "/config_dump",
    "/certs",
    "/clusters",
    "/server_info",
    "/logging",
    "/stats",
    "/stats?format=json",
    "/config?filter=.",
    "/config/../config_dump",
    "/config%2f..%2fconfig_dump",
    "//config_dump",
    "/ready/../config_dump",
    "/quitquitquit",
    "/healthcheck/fail",
    "/drain_listeners",
    "/brokers/",
)


async def test_the_admin_interface_is_out_of_reach_of_the_network() -> None:
    async with running_envoy({}, [1]) as proxy:
        for path in ADMIN:
            for method in ("GET", "POST"):
                assert (await get(proxy, path, method))[0] in (400, 404), f"{method} {path}"
        for path in ("/ready", "/config", "/stats/prometheus", "/brokers"):
            for method in ("POST", "PUT", "DELETE"):
                assert (await get(proxy, path, method))[0] == 404, f"{method} {path}"
        assert proxy.admin("/ready").strip() == "LIVE"
        listening = json.loads(proxy.admin("/listeners?format=json"))["listener_statuses"]
        assert "admin" not in {one["name"] for one in listening}


async def test_whether_a_broker_is_healthy_is_told_to_probes() -> None:
    async with running_backend() as backend, running_envoy({}, [backend.port]) as proxy:
        await proxy.until_healthy(1)
        assert (await get(proxy, "/brokers"))[0] == 200
        await backend.health.set("broker.Broker", NOT_SERVING)
        await proxy.until_healthy(0)
        assert (await get(proxy, "/brokers"))[0] == 503
        assert (await get(proxy, "/ready"))[0] == 200, (
            "without brokers a proxy is ready: it answers UNAVAILABLE at once"
        )


async def started(proxy: Proxy, clients: str = "") -> tuple[int, str]:
    """Runs the probe: its exit code and what it printed."""
    ports = [f"--clients={(clients or proxy.address).rpartition(':')[2]}"]
    ports += [f"--stats={proxy.stats_address.rpartition(':')[2]}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(STARTED), *ports, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_proxy_has_started_when_it_listens_and_knows_a_healthy_broker() -> None:
    async with running_backend() as backend, running_envoy({}, [backend.port]) as proxy:
        await proxy.until_healthy(1)
        assert await started(proxy) == (0, "")
        await backend.health.set("broker.Broker", NOT_SERVING)
        await proxy.until_healthy(0)
        assert await started(proxy) == (1, "started: Envoy knows no healthy broker yet\n")


async def test_a_proxy_that_does_not_listen_to_clients_yet_has_not_started() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        unused = f"127.0.0.1:{nobody.getsockname()[1]}"
        async with running_backend() as backend, running_envoy({}, [backend.port]) as proxy:
            await proxy.until_healthy(1)
            code, output = await started(proxy, clients=unused)
    assert code == 1
    assert output.startswith("started: Envoy takes no connections from clients on port")


async def test_a_proxy_that_refuses_its_certificate_has_not_started() -> None:
    """It is LIVE, listens, and knows a healthy broker: with that alone it would replace one that serves."""
    spec = {"proxy": {"tls": {"secretName": "orders-tls"}}}
    nonsense = {"server-tls": {"tls.crt": b"nonsense", "tls.key": b"nonsense"}}
    async with running_backend() as backend, running_envoy(spec, [backend.port], secrets=nonsense) as proxy:
        await proxy.until_healthy(1)
        await proxy.until_stat("sds.server.update_rejected", 1)
        assert (await get(proxy, "/ready"))[0] == 200
        assert await started(proxy) == (1, "started: Envoy has no usable sds.server: its log says why\n")
