"""Rules of a BrokerCluster, held by real brokers for clients whom the real Envoy knows; and forged headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.api import broker_pb2 as pb
from broker_operator.api import parse
from broker_operator.reconcile.certificates import issued, utc_now
from broker_operator.render import internal_hosts
from broker_operator.render.permissions import text
from tests.support.broker import BrokerProcess
from tests.support.brokers import DOORS, eventually, metric
from tests.support.clusters import authenticated, manifest
from tests.support.envoy import Proxy, mount, running_envoy
from tests.support.keys import keys
from tests.support.tls import Authority
from tests.support.wire import Failure, Wire, message, wire

DENIED = Failure(grpc.StatusCode.PERMISSION_DENIED, "NOT_AUTHORIZED", "brokercluster.dev")
CLIENTS = {"bob": "bobs-key", "carol": "carols-key"}
BOB, CAROL = ("x-api-key", "bobs-key"), ("x-api-key", "carols-key")
FORGED = [
    (name, "carol")
    for name in ("x-broker-api-key", "x-broker-token", "x-broker-certificate", "x-broker-client", "x-broker-anything")
]
BOB_PUBLISHES = {
    "name": "bob-publishes",
    "clients": [{"from": "APIKey", "value": "bob"}],
    "actions": ["Publish"],
    "subjects": [{"type": "Prefix", "value": "orders/"}],
}
CAROL_READS = {"name": "carol-reads", "clients": [{"from": "APIKey", "value": "carol"}], "actions": ["Subscribe"]}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def spec(*rules: dict[str, Any], **proxy: Any) -> dict[str, Any]:
    keyed = authenticated(apiKeys={"secretName": "keys"})["proxy"]
    return {"proxy": {**keyed, **proxy, "authorization": {"rules": list(rules)}}}


def write(file: Path, spec: dict[str, Any]) -> Path:
    mount(file.parent, {file.name: text(parse(manifest(spec)).spec.proxy.authorization).encode()})
    return file


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return tmp_path / "authorization" / "authorization.json"


@asynccontextmanager
async def cluster(door: str, rules: Path, spec: dict[str, Any]) -> AsyncIterator[tuple[BrokerProcess, Proxy]]:
    options = (f"--door={door}", "--trust-proxy=yes", f"--authorization-file={write(rules, spec)}")
    async with BrokerProcess("--store=memory", *options) as broker:
        port = int(broker.address.rpartition(":")[2])
        async with running_envoy(spec, [port], secrets={"api-keys": keys(spec, CLIENTS)}) as proxy:
            await proxy.until_healthy(1)
            yield broker, proxy


async def test_a_client_is_who_its_key_says_whatever_it_says_itself(door: str, rules: Path) -> None:
    async with AsyncExitStack() as stack:
        broker, proxy = await stack.enter_async_context(cluster(door, rules, spec(BOB_PUBLISHES, CAROL_READS)))
        bob = await stack.enter_async_context(wire(proxy.address, headers=[BOB, *FORGED]))
        carol = await stack.enter_async_context(wire(proxy.address, headers=[CAROL]))

        subscription = await carol.subscribed("orders/1")
        assert await bob.publish("orders/1", b"hello") == 1
        assert (await subscription.next()).body == b"hello"
        frames = bob.publish_stream()
        await frames.send(message("orders/1"), message("secrets"))
        assert (answer := await frames.receive()) is not None
        assert [(error.index, error.reason) for error in answer.errors] == [(1, "NOT_AUTHORIZED")]

        for client, method, request in (
            (bob, "Fetch", pb.FetchRequest(subject="orders/1", id=1)),
            (bob, "Subscribe", pb.SubscribeRequest(subject="orders/1")),
            (bob, "SubscribeBatch", pb.SubscribeRequest(subject="orders/1")),
            (bob, "Publish", message("orders")),
            (carol, "Publish", message("orders/1")),
        ):
            assert await client.failure(method, request) == DENIED
        assert await carol.publish_stream().failure() == DENIED
        line = "denied: Subscribe 'orders/1' to client: API key 'bob' from 127.0.0.1"
        await eventually(lambda: said(broker, line), "the log names the client")
        # A refusal of the broker's is nothing that Envoy tries again, or holds against the broker.
        assert proxy.stat("cluster.broker.upstream_rq_retry") == 0
        assert proxy.stat("cluster.broker.outlier_detection.ejections_total") == 0


async def said(broker: BrokerProcess, text: str) -> bool:
    return text in broker.log


async def test_rules_change_while_streams_live(door: str, rules: Path) -> None:
    async with AsyncExitStack() as stack:
        broker, proxy = await stack.enter_async_context(cluster(door, rules, spec(BOB_PUBLISHES, CAROL_READS)))
        bob = await stack.enter_async_context(wire(proxy.address, headers=[BOB]))
        carol = await stack.enter_async_context(wire(proxy.address, headers=[CAROL]))
        subscription, frames = await carol.subscribed("orders/1"), bob.publish_stream()
        await frames.send(message("orders/1", b"before"))
        assert (await subscription.next()).body == b"before"

        write(rules, spec(BOB_PUBLISHES, {**CAROL_READS, "actions": ["Publish", "Subscribe"]}))
        await eventually(lambda: reloaded(broker, 1), "the rules are read anew")
        await carol.publish("orders/1", b"carol")
        assert (await subscription.next()).body == b"carol"

        write(rules, spec(CAROL_READS))
        await eventually(lambda: reloaded(broker, 2), "the rules are read anew")
        assert await frames.failure() == DENIED
        assert await carol.failure("Publish", message("orders/1")) == DENIED

        write(rules, spec())
        await eventually(lambda: reloaded(broker, 3), "the rules are read anew")
        await bob.publish("orders/1", b"everybody")
        assert (await subscription.next()).body == b"everybody"


async def reloaded(broker: BrokerProcess, times: int) -> bool:
    return await metric(broker, "broker_authorization_reloads_total{result=ok}") == times


async def test_with_tls_everywhere_the_clients_certificate_counts(door: str, rules: Path, tmp_path: Path) -> None:
    servers, clients = Authority(tmp_path, "servers"), Authority(tmp_path, "clients")
    tls = {"secretName": "proxy", "clientCASecretName": "clients", "clientCertificates": "Optional"}
    ours = {"name": "ours", "clients": [{"from": "Certificate", "value": "localhost"}]}
    wanted = {"proxy": {"tls": tls, "authorization": {"rules": [ours]}}}
    internal = issued(internal_hosts(parse(manifest(wanted))), utc_now()).data()
    mount(tmp_path / "tls", internal)
    public = servers.issue("proxy")
    secrets = {
        "server-tls": {"tls.crt": public.certificate, "tls.key": public.key},
        "client-ca": {"ca.crt": clients.certificate},
        "internal-tls": internal,
    }
    files = {"cert": "tls.crt", "key": "tls.key", "client-ca": "ca.crt"}
    options = [f"--tls-{name}-file={tmp_path / 'tls' / file}" for name, file in files.items()]
    options += [f"--door={door}", "--trust-proxy=yes", f"--authorization-file={write(rules, wanted)}"]
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(BrokerProcess("--store=memory", *options))
        port = int(broker.address.rpartition(":")[2])
        proxy = await stack.enter_async_context(running_envoy(wanted, [port], secrets=secrets))
        await proxy.until_healthy(1)

        async def client(*shown: bytes) -> Wire:
            credentials = grpc.ssl_channel_credentials(servers.certificate, *shown)
            address = proxy.address.replace("127.0.0.1", "localhost")
            headers = [("x-broker-certificate", "localhost")]
            return await stack.enter_async_context(wire(address, credentials=credentials, headers=headers))

        pair = clients.issue("client")
        assert await (await client(pair.key, pair.certificate)).publish("orders") == 1
        assert await (await client()).failure("Publish", message("orders")) == DENIED
