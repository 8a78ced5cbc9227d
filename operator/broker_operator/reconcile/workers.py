"""One task per object that runs its passes, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from broker_operator.metrics import Metrics
from broker_operator.reconcile.schedule import Outcome, Pace, Result, Schedule

logger = logging.getLogger(__name__)


class Key(NamedTuple):
    """Which BrokerCluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Reconcile = Callable[[Key], Awaitable[Outcome]]


class Workers:
    """The workers of all objects. Everything here runs on one event loop.

    `concurrency` passes run at the same time at most. A worker frees itself when its object is gone.
    """

    def __init__(self, reconcile: Reconcile, *, pace: Pace, concurrency: int, metrics: Metrics) -> None:
        self._reconcile = reconcile
        self._pace = pace
        self._slots = asyncio.Semaphore(concurrency)
        self._metrics = metrics
        self._workers: dict[Key, _Worker] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._workers)

    def __contains__(self, key: Key) -> bool:
        return key in self._workers

    def wake(self, key: Key, version: Hashable = None) -> None:
        """Have this object looked at soon. `version`: see `Schedule.wake`."""
        if self._stopped:
            return
        worker = self._workers.get(key)
        if worker is None:
            worker = self._workers[key] = _Worker(key, self._pace)
            worker.task = asyncio.create_task(self._run(worker), name=f"worker {key}")
            self._metrics.workers.set(len(self._workers))
        worker.wake(version)

    async def stop(self) -> None:
        """End all workers for good, in the middle of a pass if need be: the next leader picks up from what exists."""
        self._stopped = True
        tasks = [worker.task for worker in self._workers.values() if worker.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for key in list(self._workers):
            self._forget(key)

    async def _run(self, worker: _Worker) -> None:
        while True:
            await worker.until_due()
            outcome = await self._pass(worker)
            # From here to `_forget` nothing may await: a wake-up in between would be lost with the worker.
            if outcome.result is Result.GONE and not worker.schedule.woken:
                self._forget(worker.key)
                return

    async def _pass(self, worker: _Worker) -> Outcome:
        with self._metrics.waiting.track_inprogress():
            await self._slots.acquire()
        try:
            worker.schedule.start()
            with self._metrics.duration.time():
                outcome = await self._guarded(worker.key)
        finally:
            self._slots.release()
        worker.schedule.finish(asyncio.get_running_loop().time(), outcome)
        self._metrics.passes.labels(outcome.result.value).inc()
        return outcome

    async def _guarded(self, key: Key) -> Outcome:
        """No error of a pass may end the worker: its object would never be looked at again."""
        try:
            return await self._reconcile(key)
        except Exception:
            logger.exception("pass failed in a way nobody thought of", extra={"object": str(key)})
            return Outcome(Result.FAILED)

    def _forget(self, key: Key) -> None:
        self._workers.pop(key, None)
        self._metrics.forget(key.namespace, key.name)
        self._metrics.workers.set(len(self._workers))


class _Worker:
    """The schedule of one object, and what tells its task that the schedule changed."""

    def __init__(self, key: Key, pace: Pace) -> None:
        self.key = key
        self.task: asyncio.Task[None] | None = None
        self.schedule = Schedule(pace, due=asyncio.get_running_loop().time() + pace.debounce)
        self._changed = asyncio.Event()

    def wake(self, version: Hashable) -> None:
        self.schedule.wake(asyncio.get_running_loop().time(), version)
        self._changed.set()

    async def until_due(self) -> None:
        """Sleep until the next pass is due, however often that changes meanwhile."""
        loop = asyncio.get_running_loop()
        while loop.time() < self.schedule.due:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self.schedule.due):
                    await self._changed.wait()
            except TimeoutError:
                return
