"""Bringing a subscription that starts in the past, or fell behind, up to the live flow without a hole or a repeat.

What is recent comes from memory; what is older is read from the store in pages. Whoever reaches the newest commit in
memory goes live in the same turn of the event loop, so nothing can slip in between.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine

from broker.engine.hub import Hub, slices
from broker.engine.outlet import Encoder, Outlet
from broker.engine.rules import start_beyond_end
from broker.engine.subscription import State, Subscription
from broker.errors import Refused, Unavailable
from broker.store.clock import Clock
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
        outlet: Outlet,
        encode: Encoder,
        metrics: Metrics,
        clock: Clock,
        settled: Callable[[], Awaitable[None]],
        ended: Callable[[Subscription, Refused], None],
    ) -> None:
        self._store = store
        self._settled = settled
        self._hub = hub
        self._outlet = outlet
        self._encode = encode
        self._metrics = metrics
        self._clock = clock
        self._ended = ended
        self._reads = asyncio.Semaphore(PARALLEL_READS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._read_seconds = metrics.store_seconds.labels("read")
        self._heads_seconds = metrics.store_seconds.labels("heads")
        self._before_seconds = metrics.store_seconds.labels("before")

    def start(self, subscription: Subscription) -> None:
        """Begin, or begin again after the subscriber became writable."""
        self._spawn(subscription, self._bring_up(subscription))

    def open_live(self, subscription: Subscription) -> None:
        """Open a subscription from now on, telling it where that is: its client can resume before a message came."""
        frame = subscription.framing.position
        head = self._hub.head(subscription.subject)
        if frame is None or head:
            self._outlet.open([subscription.token])
        if frame is not None:
            if head:
                self._outlet.send([frame(head)], [subscription.token])
            else:
                self._spawn(subscription, self._open_at_head(subscription, frame))

    async def stop(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, subscription: Subscription, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(self._guarded(subscription, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_at_head(self, subscription: Subscription, frame: Callable[[int], bytes]) -> None:
        try:
            head = await self._head(subscription.subject)
        except Refused as error:
            self._ended(subscription, error)
            return
        # It may be of a commit that the live flow has yet to bring: to resume after it would miss that one.
        await self._settled()
        if subscription.state is not State.ENDED:
            self._outlet.open([subscription.token])
            # Unless that commit, or another, has come meanwhile: then its messages tell where the subscriber is.
            if not self._hub.head(subscription.subject):
                self._outlet.send([frame(head)], [subscription.token])

    async def _head(self, subject: str) -> int:
        async with self._reads:
            with self._heads_seconds.time():
                return (await self._store.heads([subject]))[subject]

    async def _guarded(self, subscription: Subscription, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception:
            # It must not stand still in silence: its client resumes with another call.
            log.exception("a subscription failed in a way it should not")
            self._ended(subscription, Unavailable("UNEXPECTED", "the server failed; its log has the cause"))

    async def _bring_up(self, subscription: Subscription) -> None:
        if not subscription.opened:
            try:
                await self._resolve(subscription)
            except Refused as error:
                self._ended(subscription, error)
                return
            if subscription.state is State.ENDED:
                return
            subscription.opened = True
            self._outlet.open([subscription.token])
        retry = FIRST_RETRY
        while subscription.state is State.CATCHING_UP:
            if self._from_memory(subscription):
                return
            try:
                await self._from_store(subscription)
                retry = FIRST_RETRY
            except Refused as error:
                self._metrics.store_errors.labels("read", error.reason).inc()
                log.warning("a subscriber waits for the store: %s", error.message)
                await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                retry = min(2 * retry, LAST_RETRY)

    async def _resolve(self, subscription: Subscription) -> None:
        """Turn the wished start into the id after which to begin."""
        subject, start = subscription.subject, subscription.start
        last_id = await self._head(subject)
        if start.at == "after":
            if start.value > last_id:
                raise start_beyond_end(subject, start.value, last_id)
            subscription.cursor = start.value
        elif start.at == "since":
            with self._before_seconds.time():
                subscription.cursor = await self._store.before(subject, start.value)
        subscription.stood_after = last_id

    def _from_memory(self, subscription: Subscription) -> bool:
        """Go live with what is remembered; False when it does not reach back far enough."""
        recent = self._hub.recent
        commits = recent.after(subscription.subject, subscription.cursor)
        if commits is None:
            return False
        now = self._clock()
        for commit in commits:
            ids, messages = commit.for_late(subscription.cursor, subscription.stood_after, now, self._encode)
            if not self._offer(subscription, ids, messages, commit.last_id):
                return True
        caught_up = subscription.cursor == recent.last_id(subscription.subject)
        self._hub.join(subscription, State.LIVE if caught_up else State.AHEAD)
        return True

    async def _from_store(self, subscription: Subscription) -> None:
        """Hand over one page of what the store has."""
        subject = subscription.subject
        async with self._reads:
            with self._read_seconds.time():
                page = await self._store.read(subject, subscription.cursor, PAGE_MESSAGES, PAGE_BYTES)
        if subscription.state is not State.CATCHING_UP:
            return
        stored = page.messages
        covered = page.last_id if page.complete else stored[-1].id
        remembered_from = self._hub.recent.first_id(subject)
        if remembered_from is not None and remembered_from <= covered:
            # From there on memory is better: it still has the fire-and-forget messages.
            covered = max(remembered_from - 1, subscription.cursor)
            stored = [message for message in stored if message.id <= covered]
        messages = [self._encode(subject, m.id, (m.body,), m.published_at)[0] for m in stored]
        if not self._offer(subscription, [m.id for m in stored], messages, covered):
            return
        at_the_end = page.complete and covered == page.last_id
        if at_the_end and covered >= self._hub.head(subject):
            self._hub.join(subscription, State.AHEAD)

    def _offer(self, subscription: Subscription, ids: list[int], messages: list[bytes], covered: int) -> bool:
        """Hand over messages that stand for everything up to `covered`; False when the subscriber's queue is full."""
        for start, part in slices(messages):
            if not self._hub.hand_over(part, subscription):
                self._move(subscription, ids[start] - 1, ids[:start])
                self._hub.join(subscription, State.BLOCKED)
                return False
        self._move(subscription, covered, ids)
        return True

    def _move(self, subscription: Subscription, cursor: int, ids: list[int]) -> None:
        due_from = max(subscription.cursor, subscription.stood_after)
        if cursor > due_from:
            self._metrics.missed.inc(cursor - due_from - sum([message_id > due_from for message_id in ids]))
        subscription.cursor = cursor
