"""What the engine asks of whoever connects it with the other brokers on the same store."""

from typing import Protocol

from broker.engine.commits import Commit


class Peers(Protocol):
    """Brings commits from other brokers, and takes ours to them.

    It may lose, double and reorder what it carries: the engine reads what is missing from the store.
    """

    @property
    def connected(self) -> bool:
        """Whether the commits of all other brokers arrive here, as far as is known."""

    async def follow(self, subject: str) -> None:
        """Have the commits of a subject sent here from now on; returns when they are, or when that takes too long."""

    def unfollow(self, subject: str) -> None:
        """Have them sent no more."""

    def committed(self, commits: list[Commit]) -> None:
        """Send our commits to those who follow their subjects."""


class Alone:
    """No other brokers are known.

    Args:
        connected: whether there are none, and not only none that are known.
    """

    def __init__(self, *, connected: bool) -> None:
        self.connected = connected

    async def follow(self, subject: str) -> None:
        """Nobody is there to ask."""

    def unfollow(self, subject: str) -> None:
        """Nobody is there to tell."""

    def committed(self, commits: list[Commit]) -> None:
        """Nobody is there to tell."""
