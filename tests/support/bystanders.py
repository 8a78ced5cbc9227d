"""Others are served while somebody misbehaves, and nothing of it is left afterwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually, forget_most_resident, metrics, most_resident, resident
from tests.support.wire import Wire, wire

MIB = 1 << 20
LEFT = ("calls", "connections", "waiting", "waiting_bytes", "queued_bytes")
"""What a door counts that goes back to zero (a door may count less)."""


async def _round(client: Wire, subject: str) -> None:
    subscription = await client.subscribed(subject)
    message_id = await client.publish(subject, b"meanwhile", 10)
    assert (await subscription.next()).id == message_id
    assert (await client.fetch(subject, message_id)).body == b"meanwhile"
    subscription.cancel()


@asynccontextmanager
async def bystanders(broker: BrokerProcess, growth: int) -> AsyncIterator[None]:
    """Publish, subscribe and fetch on another connection for as long as the block takes, and once on a new one.

    Args:
        broker: who is abused.
        growth: bytes of memory by which it may grow at any moment meanwhile.
    """
    forget_most_resident(broker)
    before = resident(broker)
    ended = asyncio.Event()
    subject = f"bystander-{uuid4().hex}"  # one for all rounds: the broker remembers each for ever

    async def be_served() -> int:
        rounds = 0
        async with wire(broker.address) as client:
            while not ended.is_set() or rounds == 0:
                await _round(client, subject)
                rounds += 1
        return rounds

    serving = asyncio.create_task(be_served())
    try:
        yield
    finally:
        ended.set()
        await asyncio.wait([serving])
    assert await serving > 0
    grown = most_resident(broker) - before
    assert grown < growth, f"grew by {grown / MIB:.0f} MiB"
    async with wire(broker.address) as client:
        await _round(client, subject)
    await nothing_is_left(broker)
    assert broker.running
    for trouble in ("Traceback", "never retrieved", "panicked"):
        assert trouble not in broker.log


async def nothing_is_left(broker: BrokerProcess) -> None:
    """Wait until the door holds nothing any more."""
    left: dict[str, float] = {}

    async def nothing() -> bool:
        nonlocal left
        found = await asyncio.to_thread(metrics, broker)
        left = {name: found.get(f"broker_door_{name}", 0.0) for name in LEFT}
        left["subscriptions"] = found["broker_subscriptions"]
        return not any(left.values())

    await eventually(nothing, "nothing is left of those who have gone")
