"""A broker and a proxy under a little load, scraped by Prometheus with the labels that the ServiceMonitors give."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from broker.api import broker_pb2 as pb
from broker_operator.api import parse
from broker_operator.render import RenderSettings, render
from tests.support.broker import BrokerProcess
from tests.support.clusters import exact, limited, manifest
from tests.support.envoy import running_envoy
from tests.support.prometheus import BINARY, Prometheus, Scrape, running_prometheus

SPEC = limited(exact("limited", 1), scope="Proxy")
CLUSTER = parse(manifest(SPEC))
SETTINGS = RenderSettings("broker:test", "proxy:test", "test", frozenset({"ServiceMonitor"}))

EVERYTHING_HAPPENED = """
    rate(broker_calls_total{method="Fetch", code="OK"}[10s]) > 0
    and on () rate(broker_messages_refused_total[10s]) > 0
    and on () rate(broker_messages_delivered_total[10s]) > 0
    and on () rate(process_cpu_seconds_total{app_kubernetes_io_component="broker"}[10s]) > 0
    and on () rate(envoy_http_local_rate_limit_rate_limited[10s]) > 0
    and on () rate(envoy_cluster_grpc_upstream_rq_time_count{grpc_method="Publish"}[10s]) > 0
"""


@dataclass(frozen=True)
class Scraped:
    """What Prometheus knows at the moment when everything had happened."""

    prometheus: Prometheus
    time: float

    def query(self, expression: str) -> Any:
        """The result of a valid query; a panel's variables are filled in as Grafana does it."""
        for name, value in {
            "$namespace": CLUSTER.namespace,
            "$cluster": CLUSTER.name,
            "$__rate_interval": "10s",
        }.items():
            expression = expression.replace(name, value)
        answer = self.prometheus.query(expression, self.time)
        assert not answer.error, f"{answer.error}\n{expression}"
        return answer.result


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scraped() -> AsyncIterator[Scraped]:
    """Load until every kind of thing that the dashboard shows has been scraped."""
    if BINARY is None:
        pytest.skip("there is no prometheus on this machine (Debian: apt-get install prometheus)")
    async with BrokerProcess("--store=memory") as broker:
        backend = int(broker.address.rpartition(":")[2])
        async with running_envoy(SPEC, [backend], change=flush_often) as proxy:
            await proxy.until_healthy(1)
            scrapes = [scrape("broker", broker.http), scrape("proxy", proxy.stats_address)]
            async with running_prometheus(scrapes) as prometheus, grpc.aio.insecure_channel(proxy.address) as channel:
                yield Scraped(prometheus, await load_until_scraped(prometheus, channel))


def flush_often(files: dict[str, Any]) -> None:
    """Envoy shows its histograms only from one flush to the next, by default five seconds."""
    files["envoy.json"]["stats_flush_interval"] = "0.5s"


def scrape(component: str, address: str) -> Scrape:
    """What the ServiceMonitor of a component makes Prometheus scrape, at the given address."""
    objects = render(CLUSTER, SETTINGS)
    monitor = next(
        one for one in objects if one["kind"] == "ServiceMonitor" and one["metadata"]["name"].endswith(component)
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = (
        one
        for one in objects
        if one["kind"] == "Service"
        and wanted <= one["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in one["spec"]["ports"]}
    )
    labels = service["metadata"]["labels"]
    targets = {re.sub(r"\W", "_", label): labels[label] for label in monitor["spec"]["targetLabels"]}
    name = service["metadata"]["name"]
    given = {"namespace": CLUSTER.namespace, "service": name, "job": name, "pod": f"{name}-0"}
    return Scrape(address, endpoint["path"], {**given, **targets})


async def load_until_scraped(prometheus: Prometheus, channel: grpc.aio.Channel) -> float:
    """Publish, subscribe, fetch, and run into a limit and an error, until Prometheus has seen all of it."""

    def call(method: str, response: Any) -> Any:
        make = channel.unary_stream if method == "Subscribe" else channel.unary_unary
        return make(f"/broker.Broker/{method}", lambda message: message.SerializeToString(), response.FromString)

    publish, fetch = call("Publish", pb.PublishResponse), call("Fetch", pb.Message)
    subscription = call("Subscribe", pb.Message)(pb.SubscribeRequest(subject="orders"))
    await subscription.initial_metadata()
    async with asyncio.timeout(60):
        while True:
            answer = await publish(pb.PublishRequest(subject="orders", body=b"body", expirationSeconds=60))
            await subscription.read()
            await fetch(pb.FetchRequest(subject="orders", id=answer.id))
            for subject in ("limited", "wrong\n"):
                with suppress(grpc.aio.AioRpcError):
                    await publish(pb.PublishRequest(subject=subject))
            found = await asyncio.to_thread(prometheus.query, EVERYTHING_HAPPENED)
            assert not found.error, found.error
            if found.result:
                return float(found.result[0]["value"][0])
