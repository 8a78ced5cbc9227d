"""Closing gaps: what was committed and did not arrive is read from the store.

It was committed by another broker, or by this one without the store being able to say so. A gap shows in two ways:
something arrived that lies behind it, or the store has a later id than what arrived (asked now and then, and more often
while that finds something).
"""

import asyncio
import logging
import time

from broker.backoff import Backoff
from broker.engine.flow import Flow
from broker.engine.heads import Heads
from broker.engine.hub import Hub
from broker.engine.peers import Peers
from broker.errors import Refused
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

REORDER_SECONDS = 0.01
"""How long what is missing may be on its way before it is looked for in the store."""

CHECK_SECONDS = 1.0
"""Between two looks at the last ids, while other brokers are connected and the looks find nothing."""

BLIND_CHECK_SECONDS = 0.1
"""The same while one is not connected: its messages are found by looking only."""

FIRST_CHECK_SECONDS = 0.02
"""After a look that found something; doubled with each that does not."""

PAGE_MESSAGES, PAGE_BYTES = 1000, 1 << 20
PARALLEL_READS = 4
FIRST_RETRY, LAST_RETRY = 0.05, 2.0
"""Seconds between tries while the store is away; doubled each time, with jitter."""


class Gaps:
    """Watches the flows of all subjects that have subscribers."""

    def __init__(self, store: Store, hub: Hub, heads: Heads, peers: Peers, metrics: Metrics) -> None:
        self._store = store
        self._hub = hub
        self._heads = heads
        self._peers = peers
        self._metrics = metrics
        self._reads = asyncio.Semaphore(PARALLEL_READS)
        self._open: dict[str, float] = {}
        """Since when a subject has a gap."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._found = False
        """Whether anything was read since the last look."""
        self._look_now = asyncio.Event()
        self._read_seconds = metrics.store_seconds.labels("read")
        metrics.sampled(metrics.delivery_lag_seconds, self._lag_seconds)

    def notice(self, subject: str) -> None:
        """See to it that a gap is closed, one way or the other."""
        if subject not in self._open:
            self._open[subject] = time.monotonic()
            task = asyncio.create_task(self._close(subject))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def look(self) -> None:
        """Compare the last ids now: commits may have been missed."""
        self._look_now.set()

    async def run(self) -> None:
        """Compare the last ids again and again, until cancelled; then end all reads."""
        interval = CHECK_SECONDS
        try:
            while True:
                longest = CHECK_SECONDS if self._peers.connected else BLIND_CHECK_SECONDS
                interval = FIRST_CHECK_SECONDS if self._found else min(2 * interval, longest)
                self._found = False
                try:
                    async with asyncio.timeout(interval):
                        await self._look_now.wait()
                except TimeoutError:
                    pass
                self._look_now.clear()
                began = time.monotonic()
                await self._compare()
                # A store that is slow to answer is not asked all the time.
                interval = max(interval, 4 * (time.monotonic() - began))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _compare(self) -> None:
        subjects = self._hub.subjects()
        if not subjects:
            return
        try:
            last_ids = await self._heads.of_all(subjects)
        except Refused as error:
            self._metrics.store_errors.labels("heads", error.reason).inc()
            return
        for subject, last_id in last_ids.items():
            self._hub.expect(subject, last_id)

    async def _close(self, subject: str) -> None:
        try:
            backoff = Backoff(FIRST_RETRY, LAST_RETRY)
            while (flow := self._hub.flow(subject)) is not None and flow.missing:
                head = flow.head
                await asyncio.sleep(REORDER_SECONDS)
                # As long as the flow moves on, what is missing comes by itself.
                if flow.head != head or self._hub.flow(subject) is not flow:
                    continue
                try:
                    await self._read(subject, flow)
                    backoff.reset()
                except Refused as error:
                    self._metrics.store_errors.labels("read", error.reason).inc()
                    log.warning("messages that did not arrive wait for the store: %s", error.message)
                    await asyncio.sleep(backoff.next())
        except Exception:
            # The next look at the last ids begins anew.
            log.exception("a gap could not be closed, in a way that should not be")
        finally:
            del self._open[subject]

    async def _read(self, subject: str, flow: Flow) -> None:
        assert flow.head is not None
        # What is known to be committed now is in the page; what becomes known while it is read may not be.
        until = flow.gap_ends
        async with self._reads:
            with self._read_seconds.time():
                page = await self._store.read(subject, flow.head, PAGE_MESSAGES, PAGE_BYTES)
        if self._hub.flow(subject) is not flow:
            return
        if not page.complete:
            until = min(until, page.messages[-1].id)
        elif page.last_id < until:
            log.error("messages %d to %d of a subject are lost: the store has no such ids", page.last_id + 1, until)
        self._found = True
        self._hub.fill(subject, page.messages, until)

    def _lag_seconds(self) -> float:
        since = list(self._open.values())
        return time.monotonic() - min(since) if since else 0.0
