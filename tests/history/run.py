"""One run: a load on a cluster, while the nemesis breaks things; in the end all is whole, and everyone catches up."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.client import connect
from tests.history.cluster import Cluster
from tests.history.doors import TIMEOUT, Door, Doors
from tests.history.fetchers import fetch, keep_fetching
from tests.history.nemesis import Nemesis
from tests.history.plan import Shape, plan
from tests.history.publishers import KINDS, Draft, Load, publish
from tests.history.record import Recorder
from tests.history.subscribers import LISTENERS, Audience, Listener, come_and_go
from tests.support.wire import SMALL_WINDOW, wire

SUBJECTS = 10
_FETCHERS = 3
_COMING_AND_GOING = 4
_SAMPLE = 300
"""Acknowledged messages that are fetched at the end through each broker."""
_PATIENCE = 60.0
"""Seconds in which everyone must have caught up after all is whole."""
_FEW = 2
"""Subjects of each publisher but those that publish to all."""


@dataclass(frozen=True)
class Task:
    """What to run.

    Attributes:
        seed: of the faults, and of the load as far as that depends on chance alone.
        name: of this history; no other on the same cluster has it, so its subjects are new.
        seconds: how long things break.
        rate: messages published a second, about.
        calm: nothing breaks.
    """

    seed: str
    name: str
    seconds: float
    rate: float
    calm: bool = False


async def run(cluster: Cluster, task: Task, history: Path) -> None:
    """Write a history.

    Raises:
        AssertionError, OSError: something that was broken could not be made whole again; the history ends there.
    """
    with Recorder(history, task.seed) as record:
        async with _doors(cluster) as doors:
            await _Run(cluster, task, record, doors).run()


class _Run:
    def __init__(self, cluster: Cluster, task: Task, record: Recorder, doors: Doors) -> None:
        self._cluster = cluster
        self._task = task
        self._record = record
        self._doors = doors
        self._rng = random.Random(task.seed)
        self._subjects = [f"{task.name}/{number}" for number in range(SUBJECTS)]
        lives = {subject: _lives(number) for number, subject in enumerate(self._subjects)}
        self._load = Load(record, self._rng, task.rate / len(KINDS), lives)
        self._audience = Audience(record, self._rng)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(one) for one in self._listeners()]
            await self._all_stand()
            passing = [
                group.create_task(come_and_go(self._audience, self._doors, self._subjects))
                for _ in range(_COMING_AND_GOING)
            ]
            busy = [*self._publishers(), *self._fetchers()]
            working = [group.create_task(one) for one in busy]
            if self._task.calm:
                await asyncio.sleep(self._task.seconds)
            else:
                turns = plan(self._task.seed, Shape.of(self._cluster))
                await Nemesis(self._cluster, self._record, turns).run(self._task.seconds)
            await self._cluster.until_whole()
            self._load.stop.set()
            await asyncio.wait(working)
            self._audience.over.set()
            await asyncio.wait(passing)
            await self._all_catch_up()
            self._record.settled()
            for one in listening:
                one.cancel()

    def _listeners(self) -> Sequence[Coroutine[Any, Any, None]]:
        """One through the client for each subject, and as many of all kinds."""
        kinds = [Listener] * SUBJECTS + [LISTENERS[number % len(LISTENERS)] for number in range(SUBJECTS)]
        starts = ["latest"] * SUBJECTS + ["earliest" if number % 4 == 0 else "latest" for number in range(SUBJECTS)]
        return [
            kind(self._audience, self._doors.nth(number), self._subjects[number % SUBJECTS], _pause(number)).stay(start)
            for number, (kind, start) in enumerate(zip(kinds, starts, strict=True))
        ]

    def _publishers(self) -> Sequence[Coroutine[Any, Any, None]]:
        running = []
        for number, (kind, ordered) in enumerate(KINDS):
            name = f"{kind.__name__}-{number}"
            own = [self._subjects[(number + more) % SUBJECTS] for more in range(_FEW)]
            self._record.publisher(name, kind.__name__.replace("_", " "), ordered=ordered)
            running.append(kind(self._load, self._doors, number, name, own if number % 3 else self._subjects))
        return running

    def _fetchers(self) -> Sequence[Coroutine[Any, Any, None]]:
        return [keep_fetching(self._load, self._doors, self._rng) for _ in range(_FETCHERS)]

    async def _all_stand(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not self._audience.staying or not all(one.standing.is_set() for one in self._audience.staying):
                await asyncio.sleep(0.05)

    async def _all_catch_up(self) -> None:
        """Publish a last message to each subject; those who do not come to it in time have lost it."""
        last = {subject: await self._last(subject) for subject in self._subjects}
        readers = [
            Listener(self._audience, door, subject) for door in self._doors.brokers for subject in self._subjects
        ]
        async with asyncio.TaskGroup() as group:
            # What is on disk: a reader at each broker, from the beginning.
            reading = [group.create_task(one.stay("earliest")) for one in readers]
            sample = list(self._load.acknowledged)
            for subject, message_id in random.Random(self._task.seed).sample(sample, min(_SAMPLE, len(sample))):
                for door in self._doors.brokers:
                    await fetch(self._record, door, subject, message_id)
            for _ in range(int(_PATIENCE / 0.1)):
                if all(one.last_id >= last[one.subject] for one in self._audience.staying):
                    break
                await asyncio.sleep(0.1)
            for one in reading:
                one.cancel()

    async def _last(self, subject: str) -> int:
        """Publish until it is acknowledged, and return the id."""
        while True:
            draft = Draft(self._load, "last", subject)
            draft.expires = 3600
            if await publish(self._doors.nth(0), draft):
                return self._load.acknowledged[-1][1]


@asynccontextmanager
async def _doors(cluster: Cluster) -> AsyncIterator[Doors]:
    async with AsyncExitStack() as stack:

        async def door(name: str, target: str, *options: tuple[str, int]) -> Door:
            client = await stack.enter_async_context(connect(target, timeout=TIMEOUT, options=[_OWN_POOL, *options]))
            # Several addresses are no name of a host, which gRPC would make of them.
            authority = ("grpc.default_authority", "cluster")
            return Door(name, client, await stack.enter_async_context(wire(target, authority, *options)))

        proxies = [await door(f"envoy-{number}", one.address) for number, one in enumerate(cluster.proxies)]
        # Little is sent ahead to those without Envoy, so that the slow among them are soon felt.
        brokers = [await door(f"broker-{number}", one, *SMALL_WINDOW) for number, one in enumerate(cluster.direct)]
        yield Doors(proxies, brokers)


_OWN_POOL = ("grpc.use_local_subchannel_pool", 1)


def _lives(number: int) -> Sequence[int]:
    """Return how long the messages of a subject live, in seconds."""
    if number % 5 == 3:
        return (2, 3, 5)
    return (3600,) * 8 + (0, 0, 2)


def _pause(number: int) -> float:
    """Return the longest pause of a listener after a message, in seconds; most make none."""
    return 0.05 if number % 6 == 5 else 0.0
