"""Fetchers: they ask for what was acknowledged, now and when it should be gone."""

import asyncio
import random

from broker.client import BrokerError, MessageNotFound
from tests.history.bodies import message_of
from tests.history.doors import Door, Doors
from tests.history.events import NOT_OURS
from tests.history.publishers import Load
from tests.history.record import Recorder


async def fetch(record: Recorder, door: Door, subject: str, message_id: int) -> None:
    """Fetch one message."""
    number = record.fetching(subject, message_id)
    try:
        message = await door.client.fetch(subject, message_id)
    except MessageNotFound:
        record.not_found(number)
    except BrokerError as error:
        record.fetch_failed(number, error.reason)
    else:
        whole = (message.subject, message.id) == (subject, message_id)
        record.fetched(number, message_of(message.body, message.headers) if whole else NOT_OURS)


async def keep_fetching(load: Load, doors: Doors, rng: random.Random) -> None:
    """Fetch the latest and older ones, through any door, until nobody publishes any more."""
    while not load.stop.is_set():
        if load.acknowledged:
            newest = rng.random() < 0.5
            subject, message_id = load.acknowledged[-1] if newest else rng.choice(load.acknowledged)
            await fetch(load.record, doors.any(rng), subject, message_id)
        await asyncio.sleep(rng.uniform(0, 0.1))
