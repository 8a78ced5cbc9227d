"""Subscribe, publish one message, receive it, fetch it. Runs in a pod, and in the tests themselves.

python -m tests.e2e.programs.converse TARGET SUBJECT  →  what came back, as JSON
"""

import asyncio
import json
import sys
import time
from typing import Any

from broker.client import connect


async def converse(target: str, subject: str) -> dict[str, Any]:
    """The message as it was published, delivered and fetched; how long it took (seconds)."""
    started = time.monotonic()
    async with connect(target, timeout=30) as broker, broker.subscribe(subject) as messages:
        body = f"hello from {subject}".encode()
        published = await broker.publish(subject, body, expires=3600)
        received = await anext(messages)
        fetched = await broker.fetch(subject, published)
    return {
        "published": [published, body.decode()],
        "received": [received.id, received.body.decode()],
        "fetched": [fetched.id, fetched.body.decode()],
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(*sys.argv[1:]))))
