"""The engine: one object that the service talks to, and the tasks behind it."""

import asyncio
from collections.abc import Iterable

from broker.engine.catchup import CatchUp
from broker.engine.commits import Commit, RecentCommits
from broker.engine.fetched import FetchedMessages
from broker.engine.fetcher import Fetcher, Found, Lookup
from broker.engine.gaps import Gaps
from broker.engine.heads import Heads
from broker.engine.hub import Hub
from broker.engine.janitor import Janitor
from broker.engine.outlet import Encoder, Framing, Outlet
from broker.engine.peers import Alone, Peers
from broker.engine.publication import Publication
from broker.engine.rules import Limits, Rules
from broker.engine.subscription import Start, State, Subscription
from broker.engine.writer import Writer
from broker.errors import LimitReached, Refused
from broker.store.clock import Clock, wall_clock
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

SUBSCRIPTIONS_FULL_FOR = 1.0
"""Seconds after which it is worth asking whether somebody has left."""

FETCHED_SHARE = 0.25
"""Of the cache, what messages may take that were looked up in the store; the rest is for recent commits."""


class Engine:
    """Publishes, delivers and fetches on one store, together with the other brokers on it.

    Everything is called on the event loop and returns at once; answers come through `Publication.done`, `found` and
    the outlet, in lists.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        outlet: Outlet,
        encode: Encoder,
        found: Found,
        clock: Clock = wall_clock,
        peers: Peers | None = None,
    ) -> None:
        self.rules = Rules(limits)
        self.clock = clock
        self._limits = limits
        self._metrics = metrics
        self._outlet = outlet
        self._subscriptions: dict[int, Subscription] = {}
        self._tasks: list[asyncio.Task[None]] = []
        fetched = FetchedMessages(int(limits.cache_bytes * FETCHED_SHARE))
        recent = RecentCommits(limits.cache_bytes - int(limits.cache_bytes * FETCHED_SHARE))
        heads = Heads(store, metrics)
        self._peers = peers = peers or Alone(connected=not store.shared)
        self._hub = hub = Hub(outlet, encode, recent, metrics, clock)
        self._gaps = Gaps(store, hub, heads, peers, metrics)
        self._writer = Writer(store, limits, metrics, clock, self._committed)
        self._catchup = CatchUp(store, hub, heads, peers, outlet, encode, metrics, clock, self._end)
        self._fetcher = Fetcher(store, recent, fetched, encode, limits, metrics, clock, found)
        hub.fell_behind, hub.gap, hub.left = self._catch_up, self._gaps.notice, peers.unfollow
        self.janitor = Janitor(store, metrics)
        metrics.sampled(metrics.subscriptions, lambda: len(self._subscriptions))
        metrics.sampled(metrics.lagging, self._lagging)
        metrics.sampled(metrics.cache_bytes, lambda: recent.bytes + fetched.bytes)

    def start(self) -> None:
        """Start the engine's tasks on the running loop."""
        runs = (self._writer.run(), self._fetcher.run(), self.janitor.run(), self._gaps.run())
        self._tasks = [asyncio.create_task(run) for run in runs]

    async def failure(self) -> None:
        """Wait until one of the engine's tasks fails, which none ever should, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()

    async def stop(self) -> None:
        """End the tasks; what was submitted and not yet committed has no outcome."""
        await self._catchup.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, publication: Publication) -> None:
        """Queue checked messages for the store.

        Raises:
            LimitReached: PUBLISH_QUEUE_FULL; nothing was queued.
        """
        self._writer.submit(publication)

    def hold(self) -> None:
        """Let what is published from now on wait for `release`: it arrived together and shares a commit."""
        self._writer.hold()

    def release(self) -> None:
        """Commit what waited."""
        self._writer.release()

    async def drained(self) -> None:
        """Wait until everything published has its outcome."""
        await self._writer.drained()

    def fetch(self, lookups: Iterable[Lookup]) -> None:
        """Look messages up; answers come through `found`."""
        self._fetcher.fetch(lookups)

    def subscribe(self, token: int, subject: str, start: Start, framing: Framing) -> None:
        """Add a subscription under a new token.

        The outlet is told to open it when it stands: when the store has said where it starts.

        Raises:
            LimitReached: SUBSCRIPTIONS_FULL.
        """
        limit = self._limits.max_subscriptions
        if len(self._subscriptions) >= limit:
            text = f"this broker has {limit} subscriptions and takes no more: use another replica or raise the limit"
            metadata = {"limit": "max-subscriptions", "value": str(limit)}
            raise LimitReached("SUBSCRIPTIONS_FULL", text, metadata, retry_after=SUBSCRIPTIONS_FULL_FOR)
        subscription = Subscription(token, subject, start, framing)
        self._subscriptions[token] = subscription
        self._catch_up(subscription)

    def unsubscribe(self, token: int) -> None:
        """Forget a subscription; unknown tokens are ignored."""
        subscription = self._subscriptions.pop(token, None)
        if subscription is not None:
            self._hub.leave(subscription)

    def writable(self, token: int) -> None:
        """Go on with a subscriber whose queue was full; unknown tokens are ignored."""
        subscription = self._subscriptions.get(token)
        if subscription is not None and subscription.state is State.BLOCKED:
            self._catch_up(subscription)

    def end_subscription(self, token: int, error: Refused) -> None:
        """End one subscription with an error; unknown tokens are ignored."""
        subscription = self._subscriptions.get(token)
        if subscription is not None:
            self._end(subscription, error)

    def end_subscriptions(self, error: Refused) -> None:
        """End all subscriptions with the same error."""
        for subscription in list(self._subscriptions.values()):
            self._end(subscription, error)

    def receive(self, commits: list[Commit]) -> None:
        """Take what other brokers committed; commits may be missing, come late, or come again."""
        self._hub.receive(commits)

    def resynchronise(self) -> None:
        """Look for what other brokers committed: something may have been missed."""
        self._gaps.look()

    def _committed(self, commits: list[Commit]) -> None:
        self._peers.committed(commits)
        self._hub.deliver(commits)

    def _catch_up(self, subscription: Subscription) -> None:
        self._hub.join(subscription, State.CATCHING_UP)
        self._catchup.start(subscription)

    def _end(self, subscription: Subscription, error: Refused) -> None:
        if subscription.state is not State.ENDED:
            self.unsubscribe(subscription.token)
            self._outlet.end(subscription.token, error)

    def _lagging(self) -> int:
        lagging = (State.CATCHING_UP, State.BLOCKED)
        return sum(subscription.state in lagging for subscription in self._subscriptions.values())
