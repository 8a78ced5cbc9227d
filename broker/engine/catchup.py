"""Bringing a subscription that starts in the past, or fell behind, up to the live flow without a hole or a repeat.

What is recent comes from memory; what is older is read from the store in pages. Whoever reaches the newest commit in
memory goes live in the same turn of the event loop, so nothing can slip in between.
"""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable

from broker.backoff import Backoff
from broker.engine.eager import start_now
from broker.engine.heads import Heads
from broker.engine.hub import Hub, slices
from broker.engine.outlet import Encoder, Outlet
from broker.engine.peers import Peers
from broker.engine.rules import start_beyond_end
from broker.engine.subscription import FIRST_PIECE, State, Subscription, larger
from broker.errors import Refused, Unavailable
from broker.store.clock import Clock
from broker.store.columns import runs_of
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

PAGE_MESSAGES = 500
PAGE_BYTES = 256 << 10
PARALLEL_READS = 8
FIRST_RETRY, LAST_RETRY = 0.1, 5.0
"""Seconds between tries while the store is away; doubled each time, with jitter."""


class CatchUp:
    """Runs a short-lived task for each subscription that is not live and can take messages."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        heads: Heads,
        peers: Peers,
        outlet: Outlet,
        encode: Encoder,
        metrics: Metrics,
        clock: Clock,
        ended: Callable[[Subscription, Refused], None],
    ) -> None:
        self._store = store
        self._hub = hub
        self._heads = heads
        self._peers = peers
        self._outlet = outlet
        self._encode = encode
        self._metrics = metrics
        self._clock = clock
        self._ended = ended
        self._reads = asyncio.Semaphore(PARALLEL_READS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._read_seconds = metrics.store_seconds.labels("read")
        self._before_seconds = metrics.store_seconds.labels("before")

    def start(self, subscription: Subscription) -> None:
        """Begin, or begin again after the subscriber became writable."""
        task = start_now(self._guarded(subscription))
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guarded(self, subscription: Subscription) -> None:
        try:
            if not subscription.opened:
                await self._open(subscription)
            await self._bring_up(subscription)
        except Refused as error:
            self._ended(subscription, error)
        except Exception:
            # It must not stand still in silence: its client resumes with another call.
            log.exception("a subscription failed in a way it should not")
            self._ended(subscription, Unavailable("UNEXPECTED", "the server failed; its log has the cause"))

    async def _open(self, subscription: Subscription) -> None:
        """Find out where it starts, and tell its client that it stands.

        Raises:
            Refused: the start is wrong, or the store did not answer.
        """
        subject, start = subscription.subject, subscription.start
        last_id = await self._last_id(subject)
        if start.at == "latest":
            subscription.cursor = last_id
        elif start.at == "after":
            if start.value > last_id:
                raise start_beyond_end(subject, start.value, last_id)
            subscription.cursor = start.value
        elif start.at == "since":
            with self._before_seconds.time():
                subscription.cursor = await self._store.before(subject, start.value)
        if subscription.state is State.ENDED:
            return
        self._hub.begin(subject, last_id)
        subscription.stood_after = last_id
        subscription.opened = True
        self._outlet.open([subscription.token])
        if start.at == "latest" and subscription.framing.position is not None:
            # So its client can resume before a message came.
            self._outlet.send([subscription.framing.position(last_id)], [subscription.token])

    async def _last_id(self, subject: str) -> int:
        """Return the last id of a subject: what is committed from now on is above it, and will come by here."""
        if self._store.shared:
            # First, so that no commit falls between the answer and what the others send.
            await self._peers.follow(subject)
        else:
            flow = self._hub.flow(subject)
            if flow is not None and flow.head is not None:
                return flow.head
        return await self._heads.of(subject)

    async def _bring_up(self, subscription: Subscription) -> None:
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while subscription.state is State.CATCHING_UP and not self._hub.settle(subscription):
            if self._from_memory(subscription):
                continue
            try:
                await self._from_store(subscription)
                backoff.reset()
            except Refused as error:
                self._metrics.store_errors.labels("read", error.reason).inc()
                log.warning("a subscriber waits for the store: %s", error.message)
                await asyncio.sleep(backoff.next())

    def _from_memory(self, subscription: Subscription) -> bool:
        """Hand over what is remembered; False when that does not go on from where the subscription is."""
        commits = self._hub.recent.after(subscription.subject, subscription.cursor)
        if not commits:
            return False
        now = self._clock()
        for commit in commits:
            ids, messages = commit.for_late(subscription.cursor, subscription.stood_after, now, self._encode)
            if not self._offer(subscription, ids, messages, commit.last_id):
                break
        return True

    async def _from_store(self, subscription: Subscription) -> None:
        """Hand over one page of what the store has."""
        subject = subscription.subject
        flow = self._hub.flow(subject)
        head = (flow.head if flow is not None else None) or 0
        async with self._reads:
            with self._read_seconds.time():
                page = await self._store.read(subject, subscription.cursor, PAGE_MESSAGES, PAGE_BYTES)
        if subscription.state is not State.CATCHING_UP:
            return
        stored = page.messages
        # What came by here before is in the store, or nowhere.
        covered = max(page.last_id, head) if page.complete else stored[-1].id
        remembered_from = self._hub.recent.next_id(subject, subscription.cursor)
        if remembered_from is not None and remembered_from <= covered:
            # From there on memory is better: it still has the fire-and-forget messages.
            covered = remembered_from - 1
            stored = [message for message in stored if message.id <= covered]
        messages: list[bytes] = []
        for first_id, published_at, run in runs_of(stored):
            messages += self._encode(subject, first_id, run, published_at)
        self._offer(subscription, [m.id for m in stored], messages, covered)

    def _offer(self, subscription: Subscription, ids: list[int], messages: list[bytes], covered: int) -> bool:
        """Hand over messages that stand for everything up to `covered`; False when the subscriber's queue is full."""
        for start, part in slices(messages, subscription.piece):
            if self._hub.hand_over(part, subscription):
                subscription.piece = larger(subscription.piece)
            else:
                subscription.piece = FIRST_PIECE
                self._move(subscription, ids[start] - 1, ids[:start])
                self._hub.join(subscription, State.BLOCKED)
                return False
        self._move(subscription, covered, ids)
        return True

    def _move(self, subscription: Subscription, cursor: int, ids: list[int]) -> None:
        due_from = max(subscription.cursor, subscription.stood_after)
        if cursor > due_from:
            self._metrics.missed.inc(cursor - due_from - (len(ids) - bisect_right(ids, due_from)))
        subscription.cursor = cursor
