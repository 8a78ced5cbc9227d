"""What a message costs in Python: the service, the engine and a store behind a door that only counts.

    python -m benchmarks.hot_path [--rounds 5] [--messages 100000] [--cases publish-256,stream,…]

Nothing of gRPC is in it: batches are handed to the service as the native door brings them, and what it answers is
counted and thrown away. Each round of a case has a new service and store in this process. Bodies have 100 bytes,
messages are kept for an hour. Rounds of all cases are interleaved.

Columns: processor time of the event loop's thread and of the whole process (SQLite has threads of its own), in µs a
message, median of the rounds and least; how many messages a second that leaves to one core if a door costs nothing; and
the longest collection of garbage in any round (processor time). A delivery to one subscriber counts as a message.
"""

import argparse
import asyncio
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, Self

import uvloop

from broker.api.broker_pb2 import FetchRequest, PublishBatchRequest, PublishRequest, SubscribeRequest
from broker.engine.rules import Limits
from broker.server.door import Answer, Arrivals, Call, Ending
from broker.server.service import ROUTES, Service
from broker.store import MemoryStore, SqliteStore
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

SUBJECT = "orders.created"
BODY = b"x" * 100
FRAME = 100
"""Messages in a frame of PublishStream."""
FRAMES = 4
"""Frames of a stream that arrive together."""
FETCHES = 256
"""Calls of Fetch that arrive together."""
FETCHED = 10_000
"""Messages that are fetched in turn."""
REPLAYED = 20_000
"""Messages that a replay reads."""
SUBSCRIBERS = 500
MEMORY = 8 << 30
STREAM, SUBSCRIBER = 1_000_000, 2_000_000
"""Tokens; a subscriber's are those from there on."""
PATIENCE = 60.0
"""Seconds until what is not answered is an error."""

_ROUTE = {route.path.rpartition("/")[2]: number for number, route in enumerate(ROUTES)}


class CountingDoor:
    """A door with nobody behind it."""

    def __init__(self) -> None:
        self.answered = 0
        """Unary calls, and frames of dialogues and subscriptions for each that gets them."""
        self._awaited = 0
        self._reached = asyncio.Event()
        self._refused: list[Ending] = []

    def answer(self, answers: list[Answer]) -> None:
        self._count(len(answers))

    def open(self, tokens: list[int]) -> None:
        pass

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        self._count(len(frames) * len(tokens))
        return []

    def finish(self, endings: list[Ending]) -> None:
        self._refused += endings
        self._reached.set()

    async def until(self, answered: int) -> None:
        """Wait until so much has been answered.

        Raises:
            RuntimeError: a call was refused.
        """
        if self.answered < answered:
            self._awaited = answered
            self._reached.clear()
            await asyncio.wait_for(self._reached.wait(), PATIENCE)
        if self._refused:
            raise RuntimeError(f"calls were refused: {self._refused[:3]}")

    def _count(self, number: int) -> None:
        self.answered += number
        if self.answered >= self._awaited:
            self._reached.set()


class Meter:
    """Measures what is done inside of it."""

    messages = 1
    thread = process = pause = 0.0

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._watch)
        self.process, self.thread = time.process_time(), time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.process, self.thread = time.process_time() - self.process, time.thread_time() - self.thread
        gc.callbacks.remove(self._watch)
        gc.unfreeze()

    def _watch(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.pause = max(self.pause, time.thread_time() - self._began)


class Broker:
    """A broker without its door, and the ways to load it."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.meter = Meter()
        self._door = CountingDoor()
        self._metrics = Metrics()
        self._service = Service(self._door, store, limits, self._metrics)
        self._service.start()

    async def stop(self) -> None:
        await self._service.engine.stop()

    def arrive(self, method: str, calls: Sequence[Call]) -> None:
        """Let calls arrive together."""
        self._service.handle(Arrivals([(_ROUTE[method], list(calls))], [], [], []))

    async def unary(self, method: str, batches: Iterable[list[Call]]) -> None:
        """Let batches of unary calls arrive, each when the one before it is answered."""
        for calls in batches:
            answered = self._door.answered + len(calls)
            self.arrive(method, calls)
            await self._door.until(answered)

    async def stream(self, batches: Iterable[list[bytes]]) -> None:
        """Let batches of frames of one stream arrive, each when the one before it is answered."""
        self.arrive("PublishStream", [(STREAM, None, None)])
        for frames in batches:
            answered = self._door.answered + len(frames)
            self._service.handle(Arrivals([], [(STREAM, frame) for frame in frames], [], []))
            await self._door.until(answered)

    async def delivered(self, messages: int) -> None:
        """Wait until so many messages have been delivered."""
        # Seldom, and only where a store has threads; an event would be work for each frame.
        while self._metrics.delivered.value < messages:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def leave(self, token: int) -> None:
        """Let the client of a call go."""
        self._service.handle(Arrivals([], [], [token], []))


def request(key: bytes = b"") -> PublishRequest:
    """Return what is published."""
    return PublishRequest(subject=SUBJECT, body=BODY, expirationSeconds=3600, message_key=key)


def frame(number: int = 0, *, keys: bool = False, headers: bool = False) -> bytes:
    """Return a frame of PublishStream; keys as the client makes them: random bytes and a counter."""
    requests = [request(b"publishr" + (FRAME * number + place).to_bytes(8) if keys else b"") for place in range(FRAME)]
    for made in requests if headers else ():
        made.headers["traceparent"] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    return PublishBatchRequest(messages=requests).SerializeToString()


async def publish(broker: Broker, messages: int, together: int) -> None:
    """Unary calls."""
    calls: list[Call] = [(token, request().SerializeToString(), None) for token in range(together)]
    times = messages // together
    with broker.meter as meter:
        await broker.unary("Publish", repeat(calls, times))
    meter.messages = times * together


async def stream(broker: Broker, messages: int, *, keys: bool = False, headers: bool = False) -> None:
    """One PublishStream."""
    times = messages // (FRAME * FRAMES)
    batches = [[frame(headers=headers)] * FRAMES] * times
    if keys:
        batches = [[frame(FRAMES * number + place, keys=True) for place in range(FRAMES)] for number in range(times)]
    with broker.meter as meter:
        await broker.stream(batches)
    meter.messages = times * FRAME * FRAMES


async def live(broker: Broker, messages: int, method: str) -> None:
    """One PublishStream and one subscriber that follows it."""
    broker.arrive(method, [(SUBSCRIBER, SubscribeRequest(subject=SUBJECT, earliest=True).SerializeToString(), None)])
    await broker.stream([[frame()]])
    await broker.delivered(FRAME)
    times = messages // FRAME
    with broker.meter as meter:
        # Frames of the subscription are answers too: they make the wait shorter, not longer.
        await broker.stream(repeat([frame()], times))
        await broker.delivered(FRAME + times * FRAME)
    meter.messages = times * FRAME


async def fan_out(broker: Broker, messages: int, method: str) -> None:
    """Unary calls, one at a time, and many subscribers."""
    wanted = SubscribeRequest(subject=SUBJECT, earliest=True).SerializeToString()
    broker.arrive(method, [(SUBSCRIBER + number, wanted, None) for number in range(SUBSCRIBERS)])
    calls: list[Call] = [(STREAM, request().SerializeToString(), None)]
    await broker.unary("Publish", [calls])
    await broker.delivered(SUBSCRIBERS)
    times = messages // SUBSCRIBERS
    with broker.meter as meter:
        await broker.unary("Publish", repeat(calls, times))
        await broker.delivered(SUBSCRIBERS + times * SUBSCRIBERS)
    meter.messages = times * SUBSCRIBERS


async def replay(broker: Broker, messages: int, method: str) -> None:
    """One subscriber after the other that reads everything."""
    await broker.stream(repeat([frame()] * FRAMES, REPLAYED // (FRAME * FRAMES)))
    wanted = SubscribeRequest(subject=SUBJECT, earliest=True).SerializeToString()
    times = max(1, messages // REPLAYED)
    with broker.meter as meter:
        for number in range(times):
            broker.arrive(method, [(SUBSCRIBER + number, wanted, None)])
            await broker.delivered((number + 1) * REPLAYED)
            broker.leave(SUBSCRIBER + number)
    meter.messages = times * REPLAYED


async def fetch(broker: Broker, messages: int) -> None:
    """Unary calls, for one message after the other."""
    await broker.stream(repeat([frame()], FETCHED // FRAME))
    calls: list[Call] = [
        (number, FetchRequest(subject=SUBJECT, id=number).SerializeToString(), None) for number in range(1, FETCHED + 1)
    ]
    batches = [calls[start : start + FETCHES] for start in range(0, FETCHED, FETCHES)]
    times = max(1, messages // FETCHED)
    with broker.meter as meter:
        for _ in range(times):
            await broker.unary("Fetch", batches)
    meter.messages = times * FETCHED


class Case(NamedTuple):
    """What is measured."""

    run: Callable[[Broker, int], Awaitable[None]]
    sqlite: bool = False
    cached: bool = True


CASES = {
    "publish-1": Case(partial(publish, together=1)),
    "publish-32": Case(partial(publish, together=32)),
    "publish-128": Case(partial(publish, together=128)),
    "publish-256": Case(partial(publish, together=256)),
    "publish-256-sqlite": Case(partial(publish, together=256), sqlite=True),
    "stream": Case(stream),
    "stream-keys": Case(partial(stream, keys=True)),
    "stream-headers": Case(partial(stream, headers=True)),
    "stream-sqlite": Case(stream, sqlite=True),
    "live-single": Case(partial(live, method="Subscribe")),
    "live-batch": Case(partial(live, method="SubscribeBatch")),
    "fan-out-single": Case(partial(fan_out, method="Subscribe")),
    "fan-out-batch": Case(partial(fan_out, method="SubscribeBatch")),
    "replay-cache-single": Case(partial(replay, method="Subscribe")),
    "replay-cache-batch": Case(partial(replay, method="SubscribeBatch")),
    "replay-store-single": Case(partial(replay, method="Subscribe"), cached=False),
    "replay-store-batch": Case(partial(replay, method="SubscribeBatch"), cached=False),
    "replay-sqlite-batch": Case(partial(replay, method="SubscribeBatch"), cached=False, sqlite=True),
    "fetch": Case(fetch),
}


async def measure(case: Case, messages: int) -> Meter:
    """Run a case once, with a new broker."""
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory, "broker.db")) if case.sqlite else MemoryStore(MEMORY)
        await store.open()
        broker = Broker(store, Limits() if case.cached else Limits(cache_bytes=0))
        try:
            await case.run(broker, messages)
        finally:
            await broker.stop()
            await store.close()
    return broker.meter


def table(rounds: dict[str, list[Meter]]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"python {platform.python_version()}, protobuf {version('protobuf')}, {platform.machine()}",
        "",
        "| case | loop µs [least] | process µs [least] | messages/s | longest collection, ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, meters in rounds.items():
        thread = [1e6 * meter.thread / meter.messages for meter in meters]
        process = [1e6 * meter.process / meter.messages for meter in meters]
        lines.append(
            f"| {name} | **{statistics.median(thread):.2f}** [{min(thread):.2f}]"
            f" | {statistics.median(process):.2f} [{min(process):.2f}]"
            f" | {1e6 / statistics.median(process):,.0f} | {1e3 * max(meter.pause for meter in meters):.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=100_000, help="in each round of a case")
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated; all: %(default)s")
    arguments = parser.parse_args()
    chosen = arguments.cases.split(",")
    unknown = set(chosen) - set(CASES)
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    rounds: dict[str, list[Meter]] = {name: [] for name in chosen}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for _ in range(arguments.rounds):
            for name in chosen:
                rounds[name].append(runner.run(measure(CASES[name], arguments.messages)))
    print(table(rounds))


if __name__ == "__main__":
    main()
