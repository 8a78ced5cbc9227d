"""Fetch one message.

python -m tests.e2e.programs.fetch TARGET SUBJECT ID  →  its body, as a JSON string
"""

import asyncio
import json
import sys

from broker.client import connect


async def fetch(target: str, subject: str, message_id: int) -> str:
    """The body as text."""
    async with connect(target, timeout=30) as broker:
        return (await broker.fetch(subject, message_id)).body.decode()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(fetch(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
