"""Many subscribers and publishers, each on a connection of its own, so that they meet different brokers.

python -m tests.e2e.programs.fanout TARGET SUBJECT

Prints one JSON object a line: {"event": "subscribed"} when all subscriptions stand. After a line on standard input each
publisher publishes, once kept and once only delivered live, and {"event": "delivered", …} says what came to whom.
"""

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from broker.client import Message, connect

SUBSCRIBERS = 6
PUBLISHERS = 6
MESSAGES = 2 * PUBLISHERS


async def fan_out(target: str, subject: str) -> dict[str, Any]:
    """What the subscribers got, and whether all got the same in the same order."""
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        connections = [await stack.enter_async_context(connect(target, timeout=30)) for _ in range(PUBLISHERS)]
        subscriptions = []
        for _ in range(SUBSCRIBERS):
            subscriber = await stack.enter_async_context(connect(target, timeout=30))
            subscriptions.append(await stack.enter_async_context(subscriber.subscribe(subject)))
        print(json.dumps({"event": "subscribed"}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number, connection in enumerate(connections):
            await connection.publish(subject, f"kept-{number}".encode(), expires=3600)
            await connection.publish(subject, f"live-{number}".encode())
        got = await asyncio.gather(*(take(messages) for messages in subscriptions))
    return {
        "bodies": [message.body.decode() for message in got[0]],
        "ids": [message.id for message in got[0]],
        "different": len(Counter(tuple((each.id, each.body) for each in messages) for messages in got)) - 1,
    }


async def take(messages: Any) -> list[Message]:
    """All that were published."""
    return [await anext(messages) for _ in range(MESSAGES)]


if __name__ == "__main__":
    print(json.dumps({"event": "delivered", **asyncio.run(fan_out(sys.argv[1], sys.argv[2]))}), flush=True)
