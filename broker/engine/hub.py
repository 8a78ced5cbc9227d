"""Fan-out: commits go to the live subscribers of their subject, those who fall behind are handed over to catch up."""

from collections.abc import Callable, Iterable, Iterator

from broker.engine.commits import Commit, RecentCommits
from broker.engine.flow import Flow
from broker.engine.outlet import Encoder, Framing, Outlet
from broker.engine.subscription import LARGEST_PIECE, State, Subscription, larger
from broker.store.clock import Clock
from broker.store.columns import runs_of
from broker.store.contract import StoredMessage
from broker.telemetry.metrics import Metrics

SLICE_MESSAGES = 500
"""What is handed to a subscriber's queue at once: taken whole or not at all, so it is small beside the queue."""


class Channel:
    """The subscribers of one subject; it exists while there are any."""

    __slots__ = ("ahead", "flow", "live", "others")

    def __init__(self) -> None:
        self.live: dict[Framing, dict[int, Subscription]] = {}
        self.ahead: set[Subscription] = set()
        self.others: set[Subscription] = set()
        """Those that catch up or are blocked."""
        self.flow = Flow()

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return not (self.live or self.ahead or self.others)


class Hub:
    """Knows who subscribes to what, remembers recent commits, and delivers new ones.

    Attributes:
        fell_behind: called for a subscription that has to catch up.
        gap: called with a subject of which messages are missing.
        left: called with a subject that has no subscribers any more.
    """

    def __init__(self, outlet: Outlet, encode: Encoder, recent: RecentCommits, metrics: Metrics, clock: Clock) -> None:
        self.recent = recent
        self._outlet = outlet
        self._encode = encode
        self._metrics = metrics
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self.fell_behind: Callable[[Subscription], None] = lambda _: None
        self.gap: Callable[[str], None] = lambda _: None
        self.left: Callable[[str], None] = lambda _: None
        metrics.sampled(metrics.reorder_messages, lambda: sum(f.early_messages for f in self._flows()))
        metrics.sampled(metrics.delivery_lag_messages, lambda: max((f.missing for f in self._flows()), default=0))

    def subjects(self) -> list[str]:
        """Return the subjects that have subscribers."""
        return list(self._channels)

    def flow(self, subject: str) -> Flow | None:
        """Return the order of a subject's commits, None while it has no subscribers."""
        channel = self._channels.get(subject)
        return channel.flow if channel is not None else None

    def join(self, subscription: Subscription, state: State) -> None:
        """Take in a subscription, or move it to another state."""
        channel = self._channels.get(subscription.subject)
        if channel is None:
            channel = self._channels[subscription.subject] = Channel()
        self._withdraw(channel, subscription)
        subscription.state = state
        if state is State.LIVE:
            channel.live.setdefault(subscription.framing, {})[subscription.token] = subscription
        elif state is State.AHEAD:
            channel.ahead.add(subscription)
        else:
            channel.others.add(subscription)

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        channel = self._channels.get(subscription.subject)
        if channel is not None:
            self._withdraw(channel, subscription)
            if channel.empty:
                del self._channels[subscription.subject]
                self.left(subscription.subject)
        subscription.state = State.ENDED

    def begin(self, subject: str, last_id: int) -> None:
        """Let a subject's flow begin behind its last id, if it has not begun."""
        channel = self._channels[subject]
        self._pass_on(channel, channel.flow.begin(last_id))
        self._look_for_gap(subject, channel)

    def deliver(self, commits: list[Commit]) -> None:
        """Hand new commits of this broker to their subscribers."""
        for commit in commits:
            channel = self._channels.get(commit.subject)
            if channel is None:
                self.recent.add(commit)
            else:
                self._receive(commit, channel)

    def receive(self, commits: Iterable[Commit]) -> None:
        """Hand commits of other brokers to their subscribers, once what lies before them has come."""
        for commit in commits:
            channel = self._channels.get(commit.subject)
            if channel is not None:
                self._receive(commit, channel)

    def expect(self, subject: str, last_id: int) -> None:
        """Take note that messages up to an id are committed."""
        channel = self._channels.get(subject)
        if channel is not None:
            channel.flow.expect(last_id)
            self._look_for_gap(subject, channel)

    def fill(self, subject: str, messages: list[StoredMessage], until: int) -> None:
        """Close a gap up to an id with what the store has of it; what it has not was never stored, or has expired."""
        channel = self._channels[subject]
        flow, head = channel.flow, channel.flow.head or 0
        if until <= head:
            return
        missing = [message for message in messages if head < message.id <= until]
        ready: list[Commit] = []
        for first_id, published_at, run in runs_of(missing):
            commit = Commit.of(subject, first_id, run, published_at)
            # What arrived while the store was read may lie between these, and follow them at once.
            ready += flow.skip_to(commit.first_id - 1)
            ready += flow.take(commit)
        ready += flow.skip_to(until)
        found = sum([min(commit.last_id, until) + 1 - commit.first_id for commit in ready if commit.first_id <= until])
        self._metrics.gaps_filled.inc()
        self._metrics.gap_messages.inc(len(missing))
        self._metrics.missed.inc((until - head - found) * sum(map(len, channel.live.values())))
        self._pass_on(channel, ready)
        for subscription in list(channel.ahead):
            self.settle(subscription)

    def settle(self, subscription: Subscription) -> bool:
        """Let a subscription that has reached the flow join it; False when it has to catch up."""
        channel = self._channels[subscription.subject]
        head = channel.flow.head
        if head is None or subscription.cursor < head:
            return False
        if subscription.cursor == head:
            self.join(subscription, State.LIVE)
        else:
            self.join(subscription, State.AHEAD)
            self.expect(subscription.subject, subscription.cursor)
        return True

    def hand_over(self, messages: list[bytes], subscription: Subscription) -> bool:
        """Queue encoded messages for one subscriber; False when its queue is full and it got none."""
        if not messages:
            return True
        if self._outlet.send(subscription.framing.messages(messages), [subscription.token]):
            return False
        self._metrics.delivered.inc(len(messages))
        return True

    def _receive(self, commit: Commit, channel: Channel) -> None:
        self._pass_on(channel, channel.flow.take(commit))
        self._look_for_gap(commit.subject, channel)

    def _look_for_gap(self, subject: str, channel: Channel) -> None:
        if channel.flow.missing:
            self.gap(subject)

    def _pass_on(self, channel: Channel, commits: Iterable[Commit]) -> None:
        for commit in commits:
            self.recent.add(commit)
            if channel.live:
                self._send(commit, channel)
            for subscription in list(channel.ahead):
                self._meet(subscription, commit)

    def _send(self, commit: Commit, channel: Channel) -> None:
        ids, due = commit.for_live(self._clock(), self._encode)
        if len(due) < len(commit):
            self._metrics.missed.inc((len(commit) - len(due)) * sum(map(len, channel.live.values())))
            if not due:
                return
        for start, messages in slices(due):
            for framing, live in list(channel.live.items()):
                refused = self._outlet.send(framing.messages(messages), list(live))
                self._metrics.delivered.inc(len(messages) * (len(live) - len(refused)))
                for token in refused:
                    self._overflow(live[token], ids[start] - 1)

    def _overflow(self, subscription: Subscription, cursor: int) -> None:
        subscription.cursor = cursor
        self._metrics.overflows.inc()
        self.join(subscription, State.BLOCKED)

    def _meet(self, subscription: Subscription, commit: Commit) -> None:
        """Let one that read ahead of the live flow join it, once the flow reaches where it is."""
        if subscription.cursor > commit.last_id:
            return
        cursor, stood_after = subscription.cursor, subscription.stood_after
        _, messages = commit.for_late(cursor, stood_after, self._clock(), self._encode)
        if sum(map(len, messages)) <= LARGEST_PIECE and self.hand_over(messages, subscription):
            self.join(subscription, State.LIVE)
        else:
            self.join(subscription, State.CATCHING_UP)
            self.fell_behind(subscription)

    def _flows(self) -> list[Flow]:
        # For scrapes, which come from another thread.
        return [channel.flow for channel in list(self._channels.values())]

    @staticmethod
    def _withdraw(channel: Channel, subscription: Subscription) -> None:
        if subscription.state is State.LIVE:
            live = channel.live.get(subscription.framing)
            if live is not None:
                live.pop(subscription.token, None)
                if not live:
                    del channel.live[subscription.framing]
        else:
            channel.ahead.discard(subscription)
            channel.others.discard(subscription)


def slices(encoded: list[bytes], piece: int = LARGEST_PIECE) -> Iterator[tuple[int, list[bytes]]]:
    """Cut messages into (index of the first, messages), each small enough to be queued at once.

    Args:
        encoded: the messages.
        piece: bytes of the first slice, about; each further one may have twice as many, up to `LARGEST_PIECE`.
    """
    if len(encoded) <= SLICE_MESSAGES and sum(map(len, encoded)) <= piece:
        yield 0, encoded
        return
    start = size = 0
    for index, message in enumerate(encoded):
        if index > start and (size + len(message) > piece or index - start >= SLICE_MESSAGES):
            yield start, encoded[start:index]
            start, size, piece = index, 0, larger(piece)
        size += len(message)
    yield start, encoded[start:]
