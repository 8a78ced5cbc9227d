"""Publish and subscribe without pause while the test breaks something, then account for every message.

python -m tests.e2e.programs.load TARGET SUBJECT [SECRETS]

Prints one JSON object a line: {"event": "flowing"} once messages flow, {"event": "resumed", …} each time they flow
again after the subscription lost its connection, and after a line on standard input {"event": "account", …}.
"""

import asyncio
import json
import sys
from typing import Any

from broker.client import EARLIEST, BrokerError, Message, connect
from broker.client.connection import Broker
from tests.e2e.programs.access import access

FLOWING = 100
PUBLISHERS = 8


class Load:
    """Publishers that count what was acknowledged, one subscriber that keeps what came."""

    def __init__(self, broker: Broker, subject: str) -> None:
        self.broker = broker
        self.subject = subject
        self.acknowledged: dict[int, str] = {}
        self.failed = 0
        self.received: list[Message] = []
        self.connections_lost = 0
        self.resumed_at: int | None = None
        """How many messages had come when the subscription stood again."""
        self.stopping = asyncio.Event()
        self.news = asyncio.Event()

    async def publish(self, publisher: int) -> None:
        """Publish until told to stop; a message without acknowledgement is given up, not repeated."""
        number = 0
        while not self.stopping.is_set():
            number += 1
            body = f"{publisher}-{number}"
            try:
                self.acknowledged[await self.broker.publish(self.subject, body.encode(), expires=3600)] = body
            except BrokerError:
                self.failed += 1

    def reconnected(self, _: BrokerError) -> None:
        """The subscription stands again."""
        self.connections_lost += 1
        self.resumed_at = len(self.received)

    async def subscribe(self) -> None:
        """Keep every message, and tell when they begin to flow (again)."""
        try:
            await self._keep()
        except BrokerError as error:
            tell("subscription failed", error=str(error))

    async def _keep(self) -> None:
        async for message in self.broker.subscribe(self.subject, start=EARLIEST, on_reconnect=self.reconnected):
            self.received.append(message)
            if len(self.received) == FLOWING:
                tell("flowing")
            if self.resumed_at is not None and len(self.received) == self.resumed_at + FLOWING:
                tell("resumed", times=self.connections_lost)
            self.news.set()

    async def catch_up(self) -> None:
        """Wait until the last acknowledged message has come."""
        last = max(self.acknowledged)
        while not self.received or self.received[-1].id < last:
            self.news.clear()
            await self.news.wait()

    def account(self) -> dict[str, Any]:
        """What was promised, and what came."""
        received = {message.id: message.body.decode() for message in self.received}
        ids = [message.id for message in self.received]
        return {
            "acknowledged": len(self.acknowledged),
            "failed": self.failed,
            "received": len(ids),
            "connections_lost": self.connections_lost,
            "missing": [one for one, body in self.acknowledged.items() if received.get(one) != body],
            "dense_and_in_order": ids == list(range(1, len(ids) + 1)),
        }


def tell(event: str, **more: Any) -> None:
    """One line for the test."""
    print(json.dumps({"event": event, **more}), flush=True)


async def main(target: str, subject: str, secrets: str = "{}") -> None:
    """Run until a line comes on standard input."""
    async with connect(target, timeout=60, **access(secrets)) as broker:
        load = Load(broker, subject)
        subscriber = asyncio.create_task(load.subscribe())
        publishers = [asyncio.create_task(load.publish(number)) for number in range(PUBLISHERS)]
        await asyncio.to_thread(sys.stdin.readline)
        load.stopping.set()
        await asyncio.gather(*publishers)
        async with asyncio.timeout(60):
            await load.catch_up()
        subscriber.cancel()
        tell("account", **load.account())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
