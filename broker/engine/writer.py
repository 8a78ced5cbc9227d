"""Group commit: whatever waits when the store is free becomes one commit. No timer, no fixed batch size.

Where the store takes several appends at a time, subjects are divided into as many shards, each in one commit at a time.
Commits side by side pay only when there is enough for each of them: a few messages cost less in one commit than in two.
So what waits is committed together, unless there is much of it.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable

from broker.engine.backlog import Backlog
from broker.engine.commits import Commit
from broker.engine.committer import Committer
from broker.engine.eager import start_now
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
        self.messages += publication.count

    def take(self) -> Publication:
        publication = self.queue.popleft()
        self.messages -= publication.count
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
        self._committer = Committer(store, limits, metrics, clock, committed)
        self._shards = [_Shard() for _ in range(store.writers)]
        self._commits = 0
        """Begun and not ended."""
        self._under_way: set[asyncio.Task[None]] = set()
        """Those of them that wait for the store."""
        self._one_ended = False
        self._held = False
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, publication: Publication) -> None:
        """Queue a publication; its outcomes come through `done`.

        One that alone is beyond a limit is taken when nothing else waits: it would never be otherwise.

        Raises:
            LimitReached: PUBLISH_QUEUE_FULL; nothing was queued and `done` will not be called.
        """
        self._backlog.take(publication.count, publication.size)
        for shard, part in split(publication, len(self._shards)):
            self._shards[shard].add(part)
        self._idle.clear()
        if not self._held or self._backlog.messages >= MAX_FLUSH_MESSAGES:
            self._begin_due()

    def hold(self) -> None:
        """Begin no commit until `release`, so that what is submitted together shares one; a full one does not wait."""
        self._held = True

    def release(self) -> None:
        """Begin what was held back."""
        self._held = False
        self._begin_due()

    async def run(self) -> None:
        """Raise what a commit itself fails with, which none ever should; when cancelled, end the commits."""
        try:
            await self._failure
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def drained(self) -> None:
        """Wait until everything that was submitted has its outcome."""
        await self._idle.wait()

    def _begin_due(self) -> None:
        due = self._due()
        # All of them before the first begins: a commit that ends at once looks for what is due next.
        for shard in itertools.chain.from_iterable(due):
            shard.busy, shard.passed_over = True, False
        self._commits += len(due)
        for shards in due:
            task = start_now(self._commit(shards))
            if not task.done():
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        if not self._commits:
            self._idle.set()

    def _due(self) -> list[list[_Shard]]:
        """Return the shards whose messages are to be committed now; those in one list in one commit."""
        ended, self._one_ended = self._one_ended, False
        waiting = [shard for shard in self._shards if shard.queue and not shard.busy]
        if not waiting:
            return []
        messages = sum([shard.messages for shard in waiting])
        if self._commits and messages < WORTH_A_COMMIT and not (ended and any(s.passed_over for s in waiting)):
            for shard in waiting:
                shard.passed_over = shard.passed_over or ended
            return []
        waiting.sort(key=lambda shard: shard.messages, reverse=True)
        commits = min(len(waiting), max(1, messages // WORTH_A_COMMIT))
        return [waiting[number::commits] for number in range(commits)]

    def _take(self, shards: list[_Shard]) -> list[Publication]:
        taken: list[Publication] = []
        messages = size = 0
        for shard in shards:
            while shard.queue:
                messages += shard.queue[0].count
                size += shard.queue[0].size
                if taken and (messages > MAX_FLUSH_MESSAGES or size > MAX_FLUSH_BYTES):
                    return taken
                taken.append(shard.take())
        return taken

    async def _commit(self, shards: list[_Shard]) -> None:
        publications = self._take(shards)
        try:
            await self._committer.commit(publications)
        except Exception as error:
            if not self._failure.done():
                self._failure.set_exception(error)
        finally:
            for publication in publications:
                self._backlog.release(publication.count, publication.size)
            for shard in shards:
                shard.busy = False
            self._commits -= 1
            self._one_ended = True
        self._begin_due()
