"""Fan-out: commits go to the live subscribers of their subject, those who fall behind are handed over to catch up."""

from collections.abc import Callable, Iterator

from broker.engine.commits import Commit, RecentCommits
from broker.engine.outlet import Encoder, Framing, Outlet
from broker.engine.subscription import State, Subscription
from broker.telemetry.metrics import Metrics

SLICE_MESSAGES = 500
SLICE_BYTES = 256 << 10
"""What is handed to a subscriber's queue at once: taken whole or not at all, so it is small beside the queue."""


class Channel:
    """The subscribers of one subject; it exists while there are any."""

    __slots__ = ("ahead", "head", "live", "others")

    def __init__(self) -> None:
        self.live: dict[Framing, dict[int, Subscription]] = {}
        self.ahead: set[Subscription] = set()
        self.others: set[Subscription] = set()
        """Those that catch up or are blocked."""
        self.head = 0
        """The last id that the live flow brought since the channel exists; 0 before the first."""

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return not (self.live or self.ahead or self.others)


class Hub:
    """Knows who subscribes to what, remembers recent commits, and delivers new ones."""

    def __init__(
        self,
        outlet: Outlet,
        encode: Encoder,
        recent: RecentCommits,
        metrics: Metrics,
        fell_behind: Callable[[Subscription], None],
    ) -> None:
        self.recent = recent
        self._outlet = outlet
        self._encode = encode
        self._metrics = metrics
        self._fell_behind = fell_behind
        self._channels: dict[str, Channel] = {}

    def head(self, subject: str) -> int:
        """Return the last id that the live flow brought to a subject, 0 when unknown."""
        channel = self._channels.get(subject)
        return max(channel.head if channel else 0, self.recent.last_id(subject))

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
        subscription.state = State.ENDED

    def deliver(self, commits: list[Commit]) -> None:
        """Hand new commits to their live subscribers. Each subject's commits come in id order, without gaps."""
        for commit in commits:
            self.recent.add(commit)
            channel = self._channels.get(commit.subject)
            if channel is not None:
                self._deliver(commit, channel)

    def hand_over(self, messages: list[bytes], subscription: Subscription) -> bool:
        """Queue encoded messages for one subscriber; False when its queue is full and it got none."""
        if not messages:
            return True
        if self._outlet.send(subscription.framing.messages(messages), [subscription.token]):
            return False
        self._metrics.delivered.inc(len(messages))
        return True

    def _deliver(self, commit: Commit, channel: Channel) -> None:
        channel.head = commit.last_id
        if channel.live:
            encoded = commit.encoded(self._encode)
            for start, messages in slices(encoded):
                for framing, live in list(channel.live.items()):
                    refused = self._outlet.send(framing.messages(messages), list(live))
                    self._metrics.delivered.inc(len(messages) * (len(live) - len(refused)))
                    for token in refused:
                        self._overflow(live[token], commit.first_id + start - 1)
        for subscription in list(channel.ahead):
            self._meet(subscription, commit)

    def _overflow(self, subscription: Subscription, cursor: int) -> None:
        subscription.cursor = cursor
        self._metrics.overflows.inc()
        self.join(subscription, State.BLOCKED)

    def _meet(self, subscription: Subscription, commit: Commit) -> None:
        """Let one that read ahead of the live flow join it, once the flow reaches where it is."""
        if subscription.cursor > commit.last_id:
            return
        messages = commit.encoded(self._encode)[max(0, subscription.cursor + 1 - commit.first_id) :]
        if sum(map(len, messages)) <= SLICE_BYTES and self.hand_over(messages, subscription):
            self.join(subscription, State.LIVE)
        else:
            self.join(subscription, State.CATCHING_UP)
            self._fell_behind(subscription)

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


def slices(encoded: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Cut messages into (index of the first, messages), each small enough to be queued at once."""
    if len(encoded) <= SLICE_MESSAGES and sum(map(len, encoded)) <= SLICE_BYTES:
        yield 0, encoded
        return
    start = size = 0
    for index, message in enumerate(encoded):
        if index > start and (size + len(message) > SLICE_BYTES or index - start >= SLICE_MESSAGES):
            yield start, encoded[start:index]
            start, size = index, 0
        size += len(message)
    yield start, encoded[start:]
