"""Publish as fast as one client can, and count the answers by code.

python burst.py TARGET SUBJECT COUNT  →  {"OK": …, "RATE_LIMITED": …}
"""

import asyncio
import json
import sys
from collections import Counter

from broker.client import BrokerError, connect


async def burst(target: str, subject: str, count: int) -> Counter[str]:
    """How many calls ended how: OK, or the reason of the error with its status code."""
    answers: Counter[str] = Counter()
    async with connect(target) as broker:
        for _ in range(count):
            try:
                await broker.publish(subject, b"x")
                answers["OK"] += 1
            except BrokerError as error:
                answers[f"{error.code.name} {error.reason}"] += 1
    return answers


if __name__ == "__main__":
    print(json.dumps(asyncio.run(burst(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
