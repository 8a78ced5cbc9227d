"""Clients that come, subscribe, publish and leave leave nothing behind in the native door.

CHURN_MINUTES=10 goes on for that long and tells the memory (with `-s`).
"""

import asyncio
import os
import time
from pathlib import Path

import pytest

from broker.api import broker_pb2 as pb
from tests.support import http2 as h
from tests.support.broker import BrokerProcess
from tests.support.brokers import NATIVE, Kind, resident
from tests.support.bystanders import MIB, bystanders, nothing_is_left
from tests.support.http2 import http2
from tests.support.wire import frame, message

MINUTES = float(os.environ.get("CHURN_MINUTES", "0"))
AT_ONCE, WARM_UP, ROUNDS = 25, 20, 60
SUBSCRIBE, PUBLISH, STREAM = "/broker.Broker/Subscribe", "/broker.Broker/Publish", "/broker.Broker/PublishStream"

pytestmark = pytest.mark.skipif(not NATIVE, reason="the extension is not installed")


async def come_and_go(broker: BrokerProcess, number: int) -> None:
    """Four calls that stand and one that ends; then they are reset, or the connection is cut."""
    async with http2(broker.address) as client:
        start = h.grpc_message(pb.SubscribeRequest(subject=f"churn-{number % 7}").SerializeToString())
        client.send(
            h.request(1, SUBSCRIBE, start),
            h.request(3, SUBSCRIBE, start),
            h.request(5, STREAM),
            h.data(5, h.grpc_message(frame([message("churn", b"x", 0)]))),
            h.request(7, PUBLISH) + h.data(7, b"\0\0"),
            h.request(9, PUBLISH, h.grpc_message(message(f"churn-{number % 7}", bytes(100), 0).SerializeToString())),
        )
        assert (await client.reply(9)).status == 0
        await client.until(lambda: client.replies[1].headers and client.replies[3].headers, "both subscriptions stand")
        if number % 2:
            client.send(*map(h.reset, (1, 3, 5, 7)))
            await client.pong()


@pytest.mark.timeout(120 + 120 * MINUTES)
async def test_memory_stays_as_it_is_when_clients_come_and_go(tmp_path: Path) -> None:
    with Kind("memory", "native").process(tmp_path, "--cache-bytes=1Mi") as broker:
        began = told = time.monotonic()
        after_warm_up = rounds = 0
        async with bystanders(broker, 64 * MIB):
            while rounds < ROUNDS or time.monotonic() < began + 60 * MINUTES:
                await asyncio.gather(*[come_and_go(broker, number) for number in range(AT_ONCE)])
                rounds += 1
                if rounds == WARM_UP or time.monotonic() < began + 6 * MINUTES:
                    after_warm_up = resident(broker)
                if MINUTES and time.monotonic() > told + 30:
                    told = time.monotonic()
                    print(f"{rounds * AT_ONCE} connections, {resident(broker) / MIB:.1f} MiB")
        await nothing_is_left(broker)
        assert resident(broker) - after_warm_up < 8 * MIB
