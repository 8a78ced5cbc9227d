"""What the engine asks of whoever carries messages to subscribers, and how messages become bytes there.

A subscription is named by a token, an integer that the carrier chose. Everything is called on the event loop and
answers at once: nothing here waits for a client.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.errors import Refused
from broker.store.contract import NewMessage


@dataclass(frozen=True, slots=True, eq=False)
class Framing:
    """How one kind of subscription gets its frames."""

    messages: Callable[[list[bytes]], list[bytes]]
    """From encoded messages to frames, e.g. one each, or many joined to one."""
    position: Callable[[int], bytes] | None = None
    """From the last id before a subscription from now on to the frame that tells it, where there is such a frame."""


class Outlet(Protocol):
    """Carries frames to subscribers, each behind a bounded queue."""

    def open(self, tokens: list[int]) -> None:
        """Tell these subscribers that their subscription stands."""

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue the same frames for several subscribers.

        Returns:
            The subscribers that got none of them because their queue is full. Such a subscriber stays full until
            the engine is told that it is writable again, so it lacks a suffix, never a hole.
        """

    def end(self, token: int, error: Refused) -> None:
        """End a subscription with an error, after what is queued for it."""


class Encoder(Protocol):
    """Turns messages into what subscribers and fetchers get."""

    def __call__(self, subject: str, first_id: int, messages: Sequence[NewMessage], published_at: int) -> list[bytes]:
        """Encode consecutive messages of one commit; `published_at` in ms."""
