"""The asyncio client of the broker.

import asyncio
from broker.client import EARLIEST, connect

async def main() -> None:
    async with connect("127.0.0.1:50051") as broker:
        await broker.publish("greetings", b"hello", expires=3600)
        async for message in broker.subscribe("greetings", start=EARLIEST):
            print(message.id, message.body.decode())  # 1 hello
            break

asyncio.run(main())
"""

from broker.client.calls import Metadata, MetadataSource
from broker.client.connection import Broker, connect
from broker.client.errors import (
    BrokerError,
    DeadlineExceeded,
    InvalidRequest,
    LimitReached,
    MessageNotFound,
    NotAuthorized,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
)
from broker.client.messages import EARLIEST, LATEST, Message, MessageId, NewMessage, Start, after_id, since
from broker.client.subscription import Subscription

__all__ = [
    "EARLIEST",
    "LATEST",
    "Broker",
    "BrokerError",
    "DeadlineExceeded",
    "InvalidRequest",
    "LimitReached",
    "Message",
    "MessageId",
    "MessageNotFound",
    "Metadata",
    "MetadataSource",
    "NewMessage",
    "NotAuthorized",
    "OutcomeUnknown",
    "RateLimited",
    "Start",
    "Subscription",
    "Unavailable",
    "after_id",
    "connect",
    "since",
]
