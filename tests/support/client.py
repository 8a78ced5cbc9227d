"""What tests of the client share."""

from datetime import timedelta
from pathlib import Path

from broker.client import Message, Subscription
from tests.support.broker import BrokerProcess

HOUR = timedelta(hours=1)


async def take(subscription: Subscription, count: int) -> list[Message]:
    """The next messages of a subscription, which stays open."""
    return [await anext(subscription) for _ in range(count)]


def durable(directory: Path, *options: str) -> BrokerProcess:
    return BrokerProcess("--store=sqlite", f"--sqlite-path={directory / 'broker.db'}", *options)


async def collect(subscription: Subscription) -> list[Message]:
    return [message async for message in subscription]
