"""Brokers take calls of their proxies only, and certificates between the two change without a failed call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.api import broker_pb2 as pb
from broker_operator.api import parse
from broker_operator.reconcile.certificates import LIFE, SPREAD, Material, issued, renewed, utc_now
from broker_operator.render import internal_hosts
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS, eventually, metric
from tests.support.clusters import each, limited, manifest
from tests.support.envoy import Proxy, mount, running_envoy
from tests.support.tls import Authority
from tests.support.wire import Wire, message, wire

SPEC: dict[str, Any] = {"proxy": {"tls": {"secretName": "orders-tls"}}}
HOSTS = internal_hosts(parse(manifest(SPEC)))


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Of the certificate that clients see."""
    return Authority(tmp_path, "public")


@asynccontextmanager
async def broker(door: str, files: Path, material: Material, *options: str) -> AsyncIterator[BrokerProcess]:
    mount(files, material.data())
    names = {"cert": "tls.crt", "key": "tls.key", "client-ca": "ca.crt"}
    tls = [f"--tls-{name}-file={files / file}" for name, file in names.items()]
    async with BrokerProcess("--store=memory", f"--door={door}", "--trust-proxy=yes", *tls, *options) as process:
        yield process


@asynccontextmanager
async def front(
    process: BrokerProcess, material: Material, authority: Authority, spec: dict[str, Any] = SPEC
) -> AsyncIterator[Proxy]:
    public = authority.issue("proxy")
    secrets = {
        "server-tls": {"tls.crt": public.certificate, "tls.key": public.key},
        "internal-tls": material.data(),
    }
    async with running_envoy(spec, [int(process.address.rpartition(":")[2])], secrets=secrets) as proxy:
        yield proxy


@asynccontextmanager
async def client(proxy: Proxy, authority: Authority) -> AsyncIterator[Wire]:
    address = proxy.address.replace("127.0.0.1", "localhost")
    async with wire(address, credentials=grpc.ssl_channel_credentials(authority.certificate)) as connected:
        yield connected


async def test_only_proxies_get_to_a_broker(door: str, tmp_path: Path, authority: Authority) -> None:
    ours, theirs = issued(HOSTS, utc_now()), issued(HOSTS, utc_now())
    async with broker(door, tmp_path / "tls", ours) as process, front(process, ours, authority) as proxy:
        await proxy.until_healthy(1)
        async with client(proxy, authority) as calls:
            subscription = await calls.subscribed("greetings")
            assert await calls.publish("greetings", b"hello") == 1
            assert (await subscription.next()).body == b"hello"
            assert (await calls.fetch("greetings", 1)).body == b"hello"
            frames = calls.publish_stream()
            await frames.send(message("greetings"))
            assert (answer := await frames.receive()) is not None
            assert list(answer.ids) == [2]
        name = [("grpc.ssl_target_name_override", HOSTS[0])]
        for credentials in (
            None,
            grpc.ssl_channel_credentials(ours.data()["ca.crt"]),
            grpc.ssl_channel_credentials(ours.data()["ca.crt"], theirs.data()["tls.key"], theirs.data()["tls.crt"]),
        ):
            async with wire(process.address, *name, credentials=credentials) as stranger:
                failure = await stranger.failure("Fetch", pb.FetchRequest(subject="greetings", id=1))
            assert failure.code is grpc.StatusCode.UNAVAILABLE
            assert not failure.reason


async def test_brokers_ask_proxies_for_quota_by_the_same_certificates(
    door: str, tmp_path: Path, authority: Authority
) -> None:
    material = issued(HOSTS, utc_now())
    spec = {"proxy": {**SPEC["proxy"], **limited(each(5))["proxy"]}}
    async with broker(door, tmp_path / "tls", material) as process, front(process, material, authority, spec) as proxy:
        await proxy.until_healthy(1)
        async with client(proxy, authority) as calls:
            answer = await calls.publish_batch([message("greetings")] * 8)
            assert sum(map(bool, answer.ids)) == 5
            assert {error.reason for error in answer.errors} == {"RATE_LIMITED"}
            # The proxy itself counts in the same bucket.
            failure = await calls.failure("Publish", message("greetings"))
            assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await metric(process, "broker_quota_questions_total{result=failed}") == 0


async def test_a_proxy_sends_nothing_to_brokers_of_somebody_else(tmp_path: Path, authority: Authority) -> None:
    ours, theirs = issued(HOSTS, utc_now()), issued(HOSTS, utc_now())
    async with broker(DOORS[0], tmp_path / "tls", theirs) as process, front(process, ours, authority) as proxy:
        await proxy.until_stat("cluster.broker.ssl.fail_verify_error", 1)
        async with client(proxy, authority) as calls:
            failure = await calls.failure("Publish", message("greetings"))
        assert failure.code is grpc.StatusCode.UNAVAILABLE
        assert proxy.stat("cluster.broker.membership_healthy") == 0


class Load:
    """Publishes all the time, and counts."""

    def __init__(self, calls: Wire) -> None:
        self._calls = calls
        self.published = 0

    async def run(self) -> None:
        while True:
            self.published += 1
            assert await self._calls.publish("greetings") == self.published

    async def goes_on(self, times: int) -> None:
        wanted = self.published + times

        async def reached() -> bool:
            return self.published >= wanted

        await eventually(reached, "messages are published")


@pytest.mark.parametrize("first", ["broker", "proxy"])
async def test_a_renewal_fails_no_call_whoever_sees_it_first(
    door: str, first: str, tmp_path: Path, authority: Authority
) -> None:
    now = utc_now()
    steps = [issued(HOSTS, now - LIFE * 0.7)]
    for passed in (timedelta(0), SPREAD, 4 * SPREAD):
        steps.append(renewed(steps[-1], HOSTS, now + passed))
    assert len({step.data()["ca.crt"] for step in steps}) == 3
    assert steps[0].used != steps[-1].used
    # Connections age within a second: each step is seen by new ones.
    age = ("--max-connection-age=1", "--max-connection-age-grace=5")
    async with broker(door, tmp_path / "tls", steps[0], *age) as process, front(process, steps[0], authority) as proxy:
        await proxy.until_healthy(1)
        async with client(proxy, authority) as calls:
            load = Load(calls)
            working = asyncio.create_task(load.run())
            for number, step in enumerate(steps[1:], 1):

                async def at_broker(step: Material = step, number: int = number) -> None:
                    mount(tmp_path / "tls", step.data())
                    await eventually(lambda: reloaded(process, number), "the broker has the new files")

                async def at_proxy(step: Material = step) -> None:
                    updates = proxy.stat("cluster.broker.client_ssl_socket_factory.ssl_context_update_by_sds")
                    proxy.secret("internal-tls", step.data())
                    await proxy.until_stat(
                        "cluster.broker.client_ssl_socket_factory.ssl_context_update_by_sds", updates + 1
                    )

                for see in (at_broker, at_proxy) if first == "broker" else (at_proxy, at_broker):
                    await see()
                    await proxy.until_stat(
                        "cluster.broker.ssl.handshake", proxy.stat("cluster.broker.ssl.handshake") + 3
                    )
                    await load.goes_on(20)
            assert not working.done(), "no call has failed"
            working.cancel()
        for stat in ("connection_error", "fail_verify_error", "fail_verify_san"):
            assert proxy.stat(f"cluster.broker.ssl.{stat}") == 0
        assert proxy.stat("cluster.broker.upstream_cx_connect_fail") == 0


async def reloaded(process: BrokerProcess, times: int) -> bool:
    return await metric(process, "broker_tls_reloads_total{result=ok}") == times
