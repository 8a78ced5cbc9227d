"""Group commit: whatever waits when the store is free becomes one commit. No timer, no fixed batch size."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.engine.commits import Commit
from broker.engine.rules import Limits
from broker.errors import LimitReached, Refused, Unavailable
from broker.store.clock import Clock
from broker.store.contract import NEVER_STORED, NewMessage, Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MAX_FLUSH_MESSAGES = 10_000
MAX_FLUSH_BYTES = 16 << 20
"""One commit holds no more, so that no publisher waits long behind a heap that others made."""

LOG_INTERVAL = 5.0
"""Seconds between two lines about a store that refuses commits."""

Outcome = int | Refused
"""The id that a message got, or why it got none."""


@dataclass(slots=True)
class Publication:
    """Messages that are answered together: those of one frame, or of the calls that arrived together."""

    messages: list[tuple[str, NewMessage]]
    """Subject and message, in the order in which they take their ids."""
    done: Callable[[list[Outcome]], None]
    """Called once, with an outcome for each message."""
    size: int = 0
    """Bytes of the bodies."""

    def __post_init__(self) -> None:
        self.size = sum([len(message.body) for _, message in self.messages])


class Writer:
    """Takes publications, commits them in groups, in order, and tells the outcomes.

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
        self._store = store
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._committed = committed
        self._queue: deque[Publication] = deque()
        self._messages = 0
        self._bytes = 0
        self._last_time = 0
        self._log_after = 0.0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._settled = asyncio.Event()
        self._settled.set()
        self._append_seconds = metrics.store_seconds.labels("append")
        metrics.sampled(metrics.queue_messages, lambda: self._messages)
        metrics.sampled(metrics.queue_bytes, lambda: self._bytes)

    def submit(self, publication: Publication) -> None:
        """Queue a publication; its outcomes come through `done`.

        One that alone is beyond a limit is taken when nothing else waits: it would never be otherwise.

        Raises:
            LimitReached: PUBLISH_QUEUE_FULL; nothing was queued and `done` will not be called.
        """
        messages = self._messages + len(publication.messages)
        size = self._bytes + publication.size
        if self._messages and messages > self._limits.max_queue_messages:
            raise _queue_full("messages", self._limits.max_queue_messages)
        if self._messages and size > self._limits.max_queue_bytes:
            raise _queue_full("bytes", self._limits.max_queue_bytes)
        self._messages, self._bytes = messages, size
        self._queue.append(publication)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            await self._wake.wait()
            publications = self._take()
            self._settled.clear()
            await self._flush(publications)
            self._settled.set()
            for publication in publications:
                self._messages -= len(publication.messages)
                self._bytes -= publication.size
            if not self._queue:
                self._wake.clear()
                self._idle.set()

    async def drained(self) -> None:
        """Wait until everything that was submitted has its outcome."""
        await self._idle.wait()

    async def settled(self) -> None:
        """Wait until the commit under way, if there is one, was answered and handed on."""
        await self._settled.wait()

    def _take(self) -> list[Publication]:
        queue = self._queue
        taken = [queue.popleft()]
        messages, size = len(taken[0].messages), taken[0].size
        while queue:
            messages += len(queue[0].messages)
            size += queue[0].size
            if messages > MAX_FLUSH_MESSAGES or size > MAX_FLUSH_BYTES:
                break
            taken.append(queue.popleft())
        return taken

    async def _flush(self, publications: list[Publication]) -> None:
        batch: dict[str, list[NewMessage]] = {}
        for publication in publications:
            for subject, message in publication.messages:
                if subject in batch:
                    batch[subject].append(message)
                else:
                    batch[subject] = [message]
        # Times never run backwards within a subject, even where the clock does: `since` relies on it.
        now = self._last_time = max(self._last_time, self._clock())
        last_ids: dict[str, Outcome]
        try:
            with self._append_seconds.time():
                last_ids = await self._store.append(batch, now)
        except Refused as error:
            last_ids = dict.fromkeys(batch, error)
            self._failed(error)
        except Exception:
            log.exception("the store failed in a way it should not")
            last_ids = dict.fromkeys(
                batch, Unavailable("OUTCOME_UNKNOWN", "the store failed: the message may or may not be stored")
            )
            self._metrics.store_errors.labels("append", "OUTCOME_UNKNOWN").inc()
        commits = self._commits(batch, last_ids, now)
        self._answer(publications, dict(last_ids))
        self._committed(commits)

    def _commits(self, batch: dict[str, list[NewMessage]], last_ids: dict[str, Outcome], now: int) -> list[Commit]:
        commits = []
        messages = transient = 0
        for subject, group in batch.items():
            last_id = last_ids[subject]
            if isinstance(last_id, int):
                commits.append(Commit(subject, last_id + 1, group, now))
                messages += len(group)
                transient += sum([message.expires_at == NEVER_STORED for message in group])
            else:
                self._metrics.refused.labels(last_id.reason).inc(len(group))
        if messages:
            self._metrics.flush_messages.observe(messages)
            self._metrics.published_transient.inc(transient)
            self._metrics.published_stored.inc(messages - transient)
        return commits

    def _answer(self, publications: list[Publication], last_ids: dict[str, Outcome]) -> None:
        for publication in publications:
            outcomes: list[Outcome] = []
            for subject, _ in publication.messages:
                outcome = last_ids[subject]
                if isinstance(outcome, int):
                    outcome = last_ids[subject] = outcome + 1
                outcomes.append(outcome)
            try:
                publication.done(outcomes)
            except Exception:
                log.exception("an answer could not be given")

    def _failed(self, error: Refused) -> None:
        self._metrics.store_errors.labels("append", error.reason).inc()
        # Under load this comes a hundred times a second; the counter has them all.
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_INTERVAL
            log.warning("the store refused a commit: %s", error.message)


def _queue_full(what: str, limit: int) -> LimitReached:
    text = f"more than {limit} {what} wait for the store: try again later, or publish more slowly"
    return LimitReached("PUBLISH_QUEUE_FULL", text, {"limit": f"max-queue-{what}", "value": str(limit)})
