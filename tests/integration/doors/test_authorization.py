"""Who may do what, on both doors: from headers that a proxy sends, by rules in a file that changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.api import broker_pb2 as pb
from broker.client import NotAuthorized, connect
from tests.integration.doors.test_tls import start
from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, metric
from tests.support.http2 import grpc_message, http2
from tests.support.http2 import request as by_hand
from tests.support.wire import Failure, Wire, message, wire

DENIED = Failure(grpc.StatusCode.PERMISSION_DENIED, "NOT_AUTHORIZED", "brokercluster.dev")
SHOP = [("x-broker-token", "shop"), ("x-broker-address", "10.0.0.7")]
STORE = [("x-broker-certificate", "spiffe://cluster/store")]
METHODS = {"Publish": "Publish", "Fetch": "Subscribe", "Subscribe": "Subscribe", "SubscribeBatch": "Subscribe"}

SHOP_PUBLISHES = {
    "clients": [{"from": "Token", "value": "shop"}],
    "actions": ["Publish"],
    "subjects": [{"value": "orders"}, {"type": "Prefix", "value": "carts/"}],
}
STORE_READS = {
    "clients": [{"from": "Certificate", "type": "Prefix", "value": "spiffe://cluster/"}],
    "actions": ["Subscribe"],
    "subjects": [{"value": "orders"}],
}
STORE_DOES_ALL = {"clients": [{"from": "Certificate"}]}


def write(file: Path, *rules: dict[str, Any]) -> Path:
    file.write_text(json.dumps({"rules": [{"name": f"rule-{index}", **rule} for index, rule in enumerate(rules)]}))
    return file


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return write(tmp_path / "authorization.json", SHOP_PUBLISHES, STORE_READS)


@pytest.fixture
async def broker(door: str, rules: Path) -> AsyncIterator[BrokerProcess]:
    options = (f"--door={door}", "--trust-proxy=yes", f"--authorization-file={rules}")
    async with BrokerProcess("--store=memory", *options) as process:
        yield process
        assert "Traceback" not in process.log


def request(method: str, subject: str) -> Any:
    kinds = {"Publish": message(subject), "Fetch": pb.FetchRequest(subject=subject, id=1)}
    return kinds.get(method, pb.SubscribeRequest(subject=subject))


async def test_what_no_rule_allows_is_denied_in_every_call(broker: BrokerProcess) -> None:
    async with wire(broker.address, headers=SHOP) as shop, wire(broker.address, headers=STORE) as store:
        subscription = await store.subscribed("orders")
        batched = await store.subscribed("orders", batch=True)
        assert await shop.publish("orders", b"one") == 1
        assert await shop.publish("carts/7") == 1
        assert (await subscription.next()).body == (await batched.next()).body == b"one"
        assert (await store.fetch("orders", 1)).body == b"one"
        for client, method, subject in (
            (shop, "Publish", "order"),
            (shop, "Publish", "orders/1"),
            (shop, "Publish", "carts"),
            (shop, "Fetch", "orders"),
            (shop, "Subscribe", "orders"),
            (shop, "SubscribeBatch", "carts/7"),
            (store, "Publish", "orders"),
            (store, "Fetch", "carts/7"),
            (store, "Subscribe", "order"),
            (store, "SubscribeBatch", "Orders"),
        ):
            failure = await client.failure(method, request(method, subject))
            assert failure == DENIED
            assert failure.metadata == {"action": METHODS[method], "subject": subject}
            assert "carts" not in failure.message.replace(subject, "")
            assert failure.retry_after is None
    denied = "broker_denied_total{action=%s}"
    assert await metric(broker, denied % "Publish") == 4
    assert await metric(broker, denied % "Subscribe") == 6
    assert await metric(broker, "broker_calls_total{code=PERMISSION_DENIED,method=Fetch}") == 2
    assert "denied: Publish 'order' to client: token 'shop' from 10.0.0.7" in broker.log
    await eventually(lambda: said(broker, "denied: 5 times more within a second"), "the rest is told in one line")
    assert broker.log.count("denied:") == 6


async def said(broker: BrokerProcess, text: str) -> bool:
    return text in broker.log


async def test_messages_of_a_frame_are_denied_one_by_one(broker: BrokerProcess) -> None:
    mixed = [message("orders"), message("secrets"), message("carts/1"), message("Orders")]
    async with wire(broker.address, headers=SHOP) as shop:
        frames = shop.publish_stream()
        await frames.send(*mixed)
        for answer in (await shop.publish_batch(mixed), await frames.receive()):
            assert answer is not None
            assert [bool(number) for number in answer.ids] == [True, False, True, False]
            assert [(error.index, error.code, error.reason) for error in answer.errors] == [
                (index, DENIED.code.value[0], "NOT_AUTHORIZED") for index in (1, 3)
            ]
    async with wire(broker.address, headers=STORE) as store:
        answer = await store.publish_batch([message("orders")])
        assert [error.reason for error in answer.errors] == ["NOT_AUTHORIZED"]
        assert await store.publish_stream().failure() == DENIED


async def test_calls_of_many_clients_at_once_are_told_apart(broker: BrokerProcess) -> None:
    async with wire(broker.address) as client:

        async def publish(number: int) -> bool:
            headers = SHOP if number % 3 else [("x-broker-token", f"stranger-{number}")]
            data = message("orders", b"%d" % number).SerializeToString()
            try:
                await client.raw("Publish", data, metadata=headers)
            except grpc.aio.AioRpcError as error:
                assert Failure.of(error) == DENIED
                return False
            return True

        assert await asyncio.gather(*map(publish, range(300))) == [number % 3 > 0 for number in range(300)]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-broker-token", "")],
        [("x-broker-token", "SHOP")],
        [("x-broker-token", "shop ")],
        [("x-broker-api-key", "shop")],
        [("x-broker-certificate", "shop")],
        [("x-broker-client", "shop")],
        [("x-forwarded-for", "10.0.0.7"), ("authorization", "Bearer shop")],
    ],
)
async def test_who_proves_nothing_or_something_else_may_do_nothing(
    broker: BrokerProcess, headers: list[tuple[str, str]]
) -> None:
    async with wire(broker.address, headers=headers) as client:
        for method in METHODS:
            assert await client.failure(method, request(method, "orders")) == DENIED
        assert await client.publish_stream().failure() == DENIED
        answer = await client.publish_batch([message("orders")])
        assert [error.reason for error in answer.errors] == ["NOT_AUTHORIZED"]
        assert await client.raw("/grpc.health.v1.Health/Check", b"") == b"\x08\x01"


async def test_names_in_any_language(broker: BrokerProcess, rules: Path) -> None:
    write(rules, {"clients": [{"from": "APIKey", "value": "köln"}]})
    await eventually(lambda: reloaded(broker, "ok", 1), "the rules are read anew")
    body = grpc_message(message("orders").SerializeToString())
    async with http2(broker.address) as client:  # Python's gRPC sends nothing but ASCII; Envoy does
        for stream, name, status in ((1, "köln", 0), (3, "koln", 7), (5, "kö", 7)):
            client.send(by_hand(stream, "/broker.Broker/Publish", body, {"x-broker-api-key": name}))
            assert (await client.reply(stream)).status == status


async def reloaded(broker: BrokerProcess, result: str, count: int) -> bool:
    return await metric(broker, f"broker_authorization_reloads_total{{result={result}}}") == count


async def test_changed_rules_are_followed_and_end_what_is_not_allowed_any_more(
    broker: BrokerProcess, rules: Path
) -> None:
    async with wire(broker.address, headers=SHOP) as shop, wire(broker.address, headers=STORE) as store:
        kept, lost = await store.subscribed("orders"), await store.subscribed("orders", batch=True)
        frames = shop.publish_stream()
        await frames.send(message("orders", b"before"), message("carts/1"))
        assert (answer := await frames.receive()) is not None
        assert not answer.errors
        assert [(await one.next()).body for one in (kept, lost)] == [b"before"] * 2

        # More rights cut nothing.
        write(rules, SHOP_PUBLISHES, STORE_DOES_ALL)
        await eventually(lambda: reloaded(broker, "ok", 1), "the rules are read anew")
        assert await store.publish("orders", b"store") == 2
        assert [(await one.next()).body for one in (kept, lost)] == [b"store"] * 2

        # One subject is lost: only its messages are refused.
        write(rules, {**SHOP_PUBLISHES, "subjects": [{"value": "orders"}]}, STORE_DOES_ALL)
        await eventually(lambda: reloaded(broker, "ok", 2), "the rules are read anew")
        await frames.send(message("orders", b"after"), message("carts/1"))
        assert (answer := await frames.receive()) is not None
        assert [error.index for error in answer.errors] == [1]
        assert [(await one.next()).body for one in (kept, lost)] == [b"after"] * 2

        # What a broken file says counts not at all.
        rules.write_text('{"rules": [{}]}')
        await eventually(lambda: reloaded(broker, "failed", 1), "the rules are read anew")
        assert "rules[0].clients is not a list" in broker.log
        assert await store.publish("orders") == 4
        await kept.next()
        await lost.next()

        write(rules, {"clients": [{"from": "Token", "value": "somebody"}]})
        assert await kept.failure() == await lost.failure() == DENIED
        assert await frames.failure() == DENIED
        assert await shop.failure("Publish", message("orders")) == DENIED

        # No rules: everybody may do everything.
        write(rules)
        await eventually(lambda: reloaded(broker, "ok", 4), "the rules are read anew")
        await everything(store)


async def everything(client: Wire) -> None:
    subscription = await client.subscribed("anything")
    await client.publish("anything", b"hello")
    assert (await subscription.next()).body == b"hello"


async def test_without_trust_the_headers_mean_nothing(door: str, rules: Path) -> None:
    code, told = await start("--door=" + door, f"--authorization-file={rules}")
    assert code == 2
    assert "--authorization-file needs --trust-proxy=yes" in told
    async with BrokerProcess("--store=memory", f"--door={door}") as broker:
        async with wire(broker.address, headers=SHOP) as client:
            await everything(client)


async def test_a_wrong_file_at_the_start_says_where(tmp_path: Path) -> None:
    wrong = write(tmp_path / "wrong.json", {"clients": [{"from": "Cookie"}]})
    for file, says in ((wrong, "rules[0].clients[0].from is 'Cookie'"), (tmp_path / "no.json", "No such file")):
        code, told = await start("--trust-proxy=yes", f"--authorization-file={file}")
        assert code == 1
        assert f"--authorization-file {file}: " in told
        assert says in told
        assert told.count("\n") == 1


async def test_the_client_does_not_try_again_what_it_may_not_do(broker: BrokerProcess) -> None:
    async with connect(broker.address) as client:
        with pytest.raises(NotAuthorized) as refused:
            await client.publish("orders", b"")
        assert not refused.value.retriable
        assert refused.value.reason == "NOT_AUTHORIZED"
        with pytest.raises(NotAuthorized):
            await client.fetch("orders", 1)
        with pytest.raises(NotAuthorized):
            async with client.subscribe("orders") as subscription:
                await anext(aiter(subscription))
