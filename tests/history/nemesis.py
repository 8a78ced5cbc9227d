"""Breaks things by plan, writes down when, and makes them whole again."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from tests.history.cluster import Cluster
from tests.history.plan import Step, Turn
from tests.history.record import Recorder


class Nemesis:
    """Strikes a cluster, one turn after the other.

    Attributes:
        done: how many faults of each kind there were.
    """

    def __init__(self, cluster: Cluster, record: Recorder, turns: Iterable[Turn]) -> None:
        self._cluster = cluster
        self._record = record
        self._turns = turns
        self.done: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Begin no fault after so many seconds; when this returns, all is whole."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        for turn in self._turns:
            await asyncio.sleep(min(turn.pause, max(0.0, end - loop.time())))
            if loop.time() >= end:
                return
            async with asyncio.TaskGroup() as group:
                for step in turn.steps:
                    group.create_task(self._strike(step))

    async def _strike(self, step: Step) -> None:
        number = self._record.fault(step.kind.name, self._name(step))
        self.done[step.kind.name] += 1
        async with step.kind.broken(self._cluster, step.target):
            await asyncio.sleep(step.duration)
        self._record.healed(number)

    def _name(self, step: Step) -> str:
        names = {"database": "PostgreSQL", "proxy": f"envoy-{step.target}", "spare": f"broker-{self._cluster.spare}"}
        return names.get(step.kind.of, f"broker-{step.target}")
