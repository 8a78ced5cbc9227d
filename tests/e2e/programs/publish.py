"""Publish one message of a size, and say how it was answered.

python -m tests.e2e.programs.publish TARGET SUBJECT BYTES  →  "OK", or the status code and reason
"""

import asyncio
import json
import sys

from broker.client import BrokerError, connect


async def publish(target: str, subject: str, size: int) -> str:
    """How the call ended."""
    async with connect(target) as broker:
        try:
            await broker.publish(subject, bytes(size))
        except BrokerError as error:
            return f"{error.code.name} {error.reason}"
    return "OK"


if __name__ == "__main__":
    print(json.dumps(asyncio.run(publish(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
