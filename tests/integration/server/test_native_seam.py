"""Nothing is lost on the native door's seam, whatever both sides do, in whatever order.

SEAM_SEEDS=1000 tries more interleavings than the suite does; each failure names its seed.
"""

import asyncio
import os
import random
from contextlib import AsyncExitStack

import pytest

from tests.support.brokers import NATIVE
from tests.support.seam import Clients, Service, compare, open_door, settled
from tests.support.wire import LIMIT

SEEDS = range(int(os.environ.get("SEAM_SEEDS", "60")))
STEPS = 400
HELD = ("calls", "waiting", "waiting_bytes", "queued_bytes")

pytestmark = pytest.mark.skipif(not NATIVE, reason="the extension is not installed")


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_each_call_ends_as_it_should(seed: int) -> None:
    chance = random.Random(seed)
    end = chance.choice(["", "", "drain", "stop"])
    door = open_door()
    service = Service(door, chance)
    loop = asyncio.get_running_loop()
    loop.add_reader(door.fileno(), service.take)
    try:
        async with AsyncExitStack() as stack:
            clients = Clients(f"127.0.0.1:{door.port}", chance, stack)
            for step in range(STEPS):
                await clients.act()
                if chance.random() < 0.5:
                    service.act()
                for _ in range(chance.choice([0, 1, 1, 5])):
                    await asyncio.sleep(0)
                if step == STEPS * 3 // 4 and end == "drain":
                    door.drain()
            if end == "stop":
                door.stop()
            await everything_ends(clients, service)
            assert service.broken is None or end == "stop", service.broken
            for asked in clients.calls:
                compare(asked, service.by_number.get(asked.number))
            if end != "stop":  # then nothing is looked after any more
                await settled(door, HELD)
                clients.close()
                await settled(door, ("connections", *HELD))
                service.take()
                assert service.broken is None, service.broken
    finally:
        loop.remove_reader(door.fileno())
        door.stop()


async def everything_ends(clients: Clients, service: Service) -> None:
    """Let both sides come to their end; each call ends, or its connection does."""
    clients.let_everything_through()
    deadline = asyncio.get_running_loop().time() + LIMIT
    while left := [call for call in clients.calls if not call.reply.ended and not call.cancelled]:
        assert asyncio.get_running_loop().time() < deadline, left[0]
        service.finish_all()
        await asyncio.sleep(0.001)
    # Those whose clients have given up are ended too, if they were handed over.
    service.finish_all()
