"""Publish, each message over a stream of its own, and count the answers by code.

The client sends all messages of a connection over one stream, of which the proxy counts the first message only.

python -m tests.e2e.programs.burst TARGET SUBJECT COUNT [SECRETS]  →  {"OK": …, "RATE_LIMITED": …}
"""

import asyncio
import json
import sys
from collections import Counter

from broker.client import BrokerError, connect
from tests.e2e.programs.access import access


async def burst(target: str, subject: str, count: int, secrets: str = "{}") -> Counter[str]:
    """How many calls ended how: OK, or the reason of the error with its status code."""
    answers: Counter[str] = Counter()
    for _ in range(count):
        async with connect(target, **access(secrets)) as broker:
            try:
                await broker.publish(subject, b"x")
                answers["OK"] += 1
            except BrokerError as error:
                answers[f"{error.code.name} {error.reason}"] += 1
    return answers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(burst(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]))))
