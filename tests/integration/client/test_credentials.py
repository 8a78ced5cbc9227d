"""The client sends who it is with every call, also when that changes."""

import pytest

from broker.client import EARLIEST, BrokerError, NewMessage, connect
from tests.support.broker import BrokerProcess
from tests.support.clusters import authenticated
from tests.support.envoy import running_envoy
from tests.support.keys import keys

SPEC = authenticated(apiKeys={"secretName": "keys"})


async def test_every_call_has_it() -> None:
    key = "old"
    with BrokerProcess("--store=memory") as server:
        port = int(server.address.rpartition(":")[2])
        async with running_envoy(SPEC, [port], secrets={"api-keys": keys(SPEC, {"alice": "new"})}) as proxy:
            await proxy.until_healthy(1)
            async with connect(proxy.address, metadata=lambda: [("x-api-key", key)]) as broker:
                for call in (broker.publish("a", b"1"), broker.fetch("a", 1), anext(aiter(broker.subscribe("a")))):
                    with pytest.raises(BrokerError) as error:
                        await call
                    assert error.value.reason == "UNAUTHENTICATED"
                key = "new"
                # The first goes alone, the others in a stream.
                assert [await broker.publish("a", b"%d" % number, expires=60) for number in range(3)] == [1, 2, 3]
                many = await broker.publish_many([NewMessage("a", b"x", expires=60) for _ in range(100)])
                assert many == list(range(4, 104))
                assert (await broker.fetch("a", 2)).body == b"1"
                async with broker.subscribe("a", start=EARLIEST) as messages:
                    assert (await anext(messages)).id == 1
            async with connect(proxy.address, metadata=[("x-api-key", "new")]) as broker:
                assert await broker.publish("b", b"") == 1
