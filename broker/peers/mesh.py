"""All the other brokers: whom we follow, who follows us, and what is followed."""

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Iterable
from importlib.metadata import version

from broker.api import peers_pb2
from broker.engine.commits import Commit
from broker.engine.outlet import Encoder
from broker.peers import frames
from broker.peers.addresses import Discovery
from broker.peers.follower import Follower
from broker.peers.sender import Sender
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

FIND_SECONDS = 2.0
"""Between two looks for other brokers."""

FOLLOW_SECONDS = 0.2
"""How long a subscription waits for others to confirm that they send; later, their commits are found in the store."""

STOP_SECONDS = 1.0
"""How long the last commits may take to be sent."""


class Mesh:
    """Connects this broker with all others on the store; the engine's `Peers`.

    Args:
        discovery: where the others are; None when nobody is to be looked for.
        listen: HOST:PORT for the others.
        store: the store's identity.
        encode: makes messages into what subscribers get.
    """

    def __init__(self, discovery: Discovery | None, listen: str, store: str, encode: Encoder, metrics: Metrics) -> None:
        self.hello = peers_pb2.Hello(
            version=frames.VERSION,
            oldest_version=frames.OLDEST_VERSION,
            instance=uuid.uuid4().hex,
            store=store,
            release=version("brokercluster"),
        )
        self.subjects: set[str] = set()
        self._discovery = discovery
        self._sender = Sender(listen, self.hello, encode, metrics, self._called)
        self._followers: dict[str, Follower] = {}
        self._receive: Callable[[list[Commit]], None] = lambda _: None
        self._resynchronise: Callable[[], None] = lambda: None
        self._finding: asyncio.Task[None] | None = None
        self._commits = metrics.peer_commits.labels("received")
        self.committed = self._sender.committed
        metrics.sampled(metrics.peers_known, lambda: len(self._others()))
        metrics.sampled(metrics.peers_connected, lambda: sum(follower.connected for follower in self._others()))

    async def start(self, receive: Callable[[list[Commit]], None], resynchronise: Callable[[], None]) -> int:
        """Listen, and begin to follow.

        Args:
            receive: takes commits of others.
            resynchronise: is told when commits may have been missed.

        Returns:
            The port it listens on.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._receive, self._resynchronise = receive, resynchronise
        port = await self._sender.start()
        if self._discovery is None or not self._discovery.complete:
            self.hello.port = port
        self._finding = asyncio.create_task(self._find())
        return port

    async def stop(self) -> None:
        """Send what waits to be sent, and hang up."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await self._sender.stop(STOP_SECONDS)
        await asyncio.gather(*[follower.stop() for follower in self._followers.values()])

    @property
    def connected(self) -> bool:
        """Whether the commits of all others that are known arrive here."""
        return all(follower.connected for follower in self._others())

    async def follow(self, subject: str) -> None:
        """Have a subject's commits sent here; returns when all who are connected do so, or after FOLLOW_SECONDS."""
        new = subject not in self.subjects
        self.subjects.add(subject)
        waiting = [future for follower in self._others() if (future := follower.follow(subject, new)) is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=FOLLOW_SECONDS)

    def unfollow(self, subject: str) -> None:
        """Have a subject's commits sent no more."""
        self.subjects.discard(subject)
        for follower in self._followers.values():
            follower.unfollow(subject)

    def is_redundant(self, instance: str, follower: Follower) -> bool:
        """Whether an address led to ourselves, or to a broker that is followed already."""
        others = (other for other in self._followers.values() if other is not follower)
        return instance == self.hello.instance or any(other.instance == instance for other in others)

    def received(self, commits: Iterable[Commit]) -> None:
        """Hand on what another broker committed."""
        taken = list(commits)
        self._commits.inc(len(taken))
        self._receive(taken)

    def connected_anew(self) -> None:
        """Look for what was missed until now."""
        self._resynchronise()

    def _others(self) -> list[Follower]:
        return [follower for follower in list(self._followers.values()) if not follower.redundant]

    def _called(self, address: str) -> None:
        """Call back a broker that called: its name may take a while to get around."""
        if (self._discovery is None or not self._discovery.complete) and address not in self._followers:
            self._followers[address] = Follower(address, self)

    async def _find(self) -> None:
        """Look for other brokers again and again; follow those that are new, forget those that are gone."""
        while self._discovery is not None:
            try:
                found = await self._discovery.find()
            except OSError as error:
                log.debug("the other brokers cannot be found now: %s", error)
            else:
                for address in found - self._followers.keys():
                    self._followers[address] = Follower(address, self)
                for address in self._followers.keys() - found:
                    # Whoever answers is there, whatever the name service says.
                    if not self._followers[address].connected:
                        await self._followers.pop(address).stop()
            if self._discovery.complete:
                return
            await asyncio.sleep(FIND_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
