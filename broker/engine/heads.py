"""Asking the store for last ids: whoever asks while a query runs shares the next one."""

import asyncio
from collections.abc import Iterable

from broker.errors import Refused
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

MAX_SUBJECTS = 1000
"""Subjects in one query."""


class Heads:
    """Answers with the last id that a subject had at some moment after the question."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._seconds = metrics.store_seconds.labels("heads")
        self._errors = metrics.store_errors
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def of(self, subject: str) -> int:
        """Return the last id of a subject, 0 when it has none.

        Raises:
            Refused: the store did not answer.
        """
        answer = self._waiting.get(subject)
        if answer is None:
            answer = self._waiting[subject] = asyncio.get_running_loop().create_future()
            # Nobody may be left to look at an error.
            answer.add_done_callback(lambda future: future.cancelled() or future.exception())
        if self._task is None:
            self._task = asyncio.create_task(self._answer())
        return await asyncio.shield(answer)

    async def of_all(self, subjects: Iterable[str]) -> dict[str, int]:
        """Return the last id of each subject.

        Raises:
            Refused: the store did not answer.
        """
        asked = list(subjects)
        found: dict[str, int] = {}
        for start in range(0, len(asked), MAX_SUBJECTS):
            with self._seconds.time():
                found |= await self._store.heads(asked[start : start + MAX_SUBJECTS])
        return found

    async def _answer(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, {}
            try:
                heads = await self.of_all(waiting)
            except Exception as error:
                if isinstance(error, Refused):
                    self._errors.labels("heads", error.reason).inc()
                for answer in waiting.values():
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for subject, answer in waiting.items():
                    if not answer.done():
                        answer.set_result(heads[subject])
        self._task = None
