"""Publish many messages at once over one connection, which the client sends over one stream, and count the answers.

python -m tests.e2e.programs.flood TARGET SUBJECT COUNT  →  {"OK": …, "RESOURCE_EXHAUSTED RATE_LIMITED": …}
"""

import asyncio
import json
import sys
from collections import Counter

from broker.client import BrokerError, connect
from broker.client.connection import Broker


async def flood(target: str, subject: str, count: int) -> Counter[str]:
    """How many messages ended how: OK, or the error's status code and reason."""
    async with connect(target, timeout=5) as broker:
        return Counter(await asyncio.gather(*(publish(broker, subject) for _ in range(count))))


async def publish(broker: Broker, subject: str) -> str:
    """How one message ended."""
    try:
        await broker.publish(subject, b"x")
    except BrokerError as error:
        return f"{error.code.name} {error.reason}"
    return "OK"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
