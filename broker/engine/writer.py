"""Group commit: whatever waits when the store is free becomes one commit. No timer, no fixed batch size.

Where the store takes several appends at a time, subjects are divided into as many shards, each in one commit at a time.
Commits side by side pay only when there is enough for each of them: a few messages cost less in one commit than in two.
So what waits is committed together, unless there is much of it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from broker.engine.backlog import Backlog
from broker.engine.commits import Commit
from broker.engine.committer import Committer
from broker.engine.publication import Publication, split
from broker.engine.rules import Limits
from broker.store.clock import Clock
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

MAX_FLUSH_MESSAGES = 10_000
MAX_FLUSH_BYTES = 16 << 20
"""One commit holds no more, so that no publisher waits long behind a heap that others made."""

WORTH_A_COMMIT = 256
"""So many messages are worth a commit beside another one."""


class _Shard:
    """The publications of some subjects, in order."""

    __slots__ = ("busy", "messages", "passed_over", "queue")

    def __init__(self) -> None:
        self.queue: deque[Publication] = deque()
        self.messages = 0
        self.busy = False
        """A commit with its subjects is under way."""
        self.passed_over = False
        """It was left waiting when a commit ended, to join the next one."""

    def add(self, publication: Publication) -> None:
        self.queue.append(publication)
        self.messages += len(publication.messages)

    def take(self) -> Publication:
        publication = self.queue.popleft()
        self.messages -= len(publication.messages)
        return publication


class Writer:
    """Takes publications, commits them in groups, each subject's in order, and tells the outcomes.

    After a commit it hands each subject's messages on as a `Commit`, in id order.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        committed: Callable[[list[Commit]], None],
    ) -> None:
        self._backlog = Backlog(limits, metrics)
        self._committer = Committer(store, metrics, clock, committed)
        self._shards = [_Shard() for _ in range(store.writers)]
        self._under_way: set[asyncio.Task[None]] = set()
        self._one_ended = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, publication: Publication) -> None:
        """Queue a publication; its outcomes come through `done`.

        One that alone is beyond a limit is taken when nothing else waits: it would never be otherwise.

        Raises:
            LimitReached: PUBLISH_QUEUE_FULL; nothing was queued and `done` will not be called.
        """
        self._backlog.take(len(publication.messages), publication.size)
        for shard, part in split(publication, len(self._shards)):
            self._shards[shard].add(part)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        try:
            async with asyncio.TaskGroup() as commits:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    for shards in self._due():
                        self._under_way.add(commits.create_task(self._commit(shards, self._take(shards))))
                    if not self._under_way:
                        self._idle.set()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def drained(self) -> None:
        """Wait until everything that was submitted has its outcome."""
        await self._idle.wait()

    async def settled(self) -> None:
        """Wait until the commits under way, if there are any, were answered and handed on."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))

    def _due(self) -> list[list[_Shard]]:
        """Return the shards whose messages are to be committed now; those in one list in one commit."""
        ended, self._one_ended = self._one_ended, False
        waiting = [shard for shard in self._shards if shard.queue and not shard.busy]
        messages = sum([shard.messages for shard in waiting])
        if self._under_way and messages < WORTH_A_COMMIT and not (ended and any(s.passed_over for s in waiting)):
            for shard in waiting:
                shard.passed_over = shard.passed_over or ended
            return []
        waiting.sort(key=lambda shard: shard.messages, reverse=True)
        commits = min(len(waiting), max(1, messages // WORTH_A_COMMIT))
        return [waiting[number::commits] for number in range(commits)]

    def _take(self, shards: list[_Shard]) -> list[Publication]:
        for shard in shards:
            shard.busy, shard.passed_over = True, False
        taken: list[Publication] = []
        messages = size = 0
        for shard in shards:
            while shard.queue:
                messages += len(shard.queue[0].messages)
                size += shard.queue[0].size
                if taken and (messages > MAX_FLUSH_MESSAGES or size > MAX_FLUSH_BYTES):
                    return taken
                taken.append(shard.take())
        return taken

    async def _commit(self, shards: list[_Shard], publications: list[Publication]) -> None:
        try:
            await self._committer.commit(publications)
        finally:
            for publication in publications:
                self._backlog.release(len(publication.messages), publication.size)
            for shard in shards:
                shard.busy = False
            if (task := asyncio.current_task()) is not None:
                self._under_way.discard(task)
            self._one_ended = True
            self._wake.set()
