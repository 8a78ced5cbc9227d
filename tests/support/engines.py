"""Engines on a memory store, behind an outlet whose readers the tests control."""

import asyncio
from collections import defaultdict

from broker.engine.engine import Engine
from broker.engine.outlet import Framing
from broker.engine.publication import Publication
from broker.engine.rules import Limits
from broker.errors import Refused
from broker.store.contract import NEVER_STORED, NewMessage
from broker.store.memory import MemoryStore
from broker.telemetry.metrics import Metrics
from tests.support.stores import FakeClock


def encode(subject, first_id, messages, published_at):
    return [b"%d:%s" % (first_id + index, message.body) for index, message in enumerate(messages)]


one_each = Framing(lambda messages: messages)
with_position = Framing(lambda messages: messages, lambda last_id: b"%d:position" % last_id)


class Readers:
    """An outlet: each reader's queue takes `room` frames and is emptied when the test says so."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.queued: dict[int, list[bytes]] = defaultdict(list)
        self.got: dict[int, list[bytes]] = defaultdict(list)
        self.opened: list[int] = []
        self.ended: dict[int, Refused] = {}
        self.full: set[int] = set()

    def open(self, tokens):
        self.opened += tokens

    def send(self, frames, tokens):
        refused = []
        for token in tokens:
            if token in self.full or len(self.queued[token]) >= self.room:
                self.full.add(token)
                refused.append(token)
            else:
                self.queued[token] += frames
        return refused

    def end(self, token, error):
        self.ended[token] = error

    def read(self, token) -> bool:
        """Empty a reader's queue; True when it had been refused something."""
        self.got[token] += self.queued.pop(token, [])
        was_full = token in self.full
        self.full.discard(token)
        return was_full

    def ids(self, token) -> list[int]:
        return [int(frame.partition(b":")[0]) for frame in self.got[token] + self.queued[token]]


class Bench:
    """An engine under test."""

    def __init__(self, room: int = 10**9, limits: Limits | None = None, store=None, peers=None) -> None:
        self.clock = FakeClock()
        self.store = store or MemoryStore(1 << 30, self.clock)
        self.readers = Readers(room)
        self.metrics = Metrics()
        self.found: dict[int, bytes | Refused] = {}
        self.engine = Engine(
            self.store, limits or Limits(), self.metrics, self.readers, encode, self.found.update, self.clock, peers
        )

    async def __aenter__(self):
        await self.store.open()
        self.engine.start()
        return self

    async def __aexit__(self, *_):
        await self.engine.stop()
        await self.store.close()

    def publish(self, subject: str, *expirations: int) -> asyncio.Future:
        """Publish messages; an expiration is in seconds, 0 for fire-and-forget."""
        future = asyncio.get_running_loop().create_future()
        messages = [
            (subject, NewMessage(b"x", self.clock() + 1000 * expiration if expiration else NEVER_STORED))
            for expiration in expirations
        ]
        self.engine.publish(Publication.of(messages, lambda outcomes: future.set_result(list(outcomes))))
        return future

    async def settle(self) -> None:
        """Let everything that can happen without a reader's help happen."""
        for _ in range(60):
            await asyncio.sleep(0)

    def metric(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


class Threaded(MemoryStore):
    """A store whose commits and reads take their time, as those of a store behind a thread or a network do."""

    async def append(self, batch, published_at, keys_until):
        last_ids = await super().append(batch, published_at, keys_until)
        for _ in range(3):
            await asyncio.sleep(0)
        return last_ids

    async def read(self, subject, after_id, limit, max_bytes):
        await asyncio.sleep(0)
        page = await super().read(subject, after_id, min(limit, 2), max_bytes)
        await asyncio.sleep(0)
        return page
