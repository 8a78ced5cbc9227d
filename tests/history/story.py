"""A history in order: which message, subscription and fetch each event belongs to."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.history.events import (
    Acknowledged,
    Began,
    Delivered,
    Ended,
    Event,
    Fetched,
    FetchFailed,
    Fetching,
    NotFound,
    Publisher,
    Publishing,
    Refused,
    Resumed,
    Settled,
    Standing,
    Subscribing,
    Unknown,
)


@dataclass(slots=True)
class Attempt:
    """One call that publishes."""

    asked: Publishing
    end: Acknowledged | Refused | Unknown | None = None


@dataclass(slots=True)
class Message:
    """A message with all attempts to publish it.

    Attributes:
        seen_at: when it certainly was committed: acknowledged, delivered to or fetched by anyone; infinite before that.
        id: its id, once an acknowledgement, a delivery or a fetch told it; 0 before that.
    """

    number: int
    subject: str
    expires: int
    key: str
    attempts: list[Attempt] = field(default_factory=list)
    seen_at: float = math.inf
    id: int = 0

    @property
    def invoked_at(self) -> float:
        """When it was first asked for: it cannot be committed before that."""
        return self.attempts[0].asked.at

    @property
    def acknowledgements(self) -> Iterator[Acknowledged]:
        return (attempt.end for attempt in self.attempts if isinstance(attempt.end, Acknowledged))

    @property
    def refused(self) -> bool:
        """Whether every attempt was refused, so that it is not stored."""
        return all(isinstance(attempt.end, Refused) for attempt in self.attempts)

    @property
    def expires_after(self) -> float:
        """The earliest moment of its expiry."""
        return self.invoked_at + self.expires

    @property
    def expired_by(self) -> float:
        """The latest moment of its expiry; infinite while nobody has seen it."""
        return self.seen_at + self.expires

    def events(self) -> list[Event]:
        """All that publishers know of it."""
        return [event for attempt in self.attempts for event in (attempt.asked, attempt.end) if event is not None]


@dataclass(slots=True)
class Subscription:
    """A subscription with what it got, in the order in which it came."""

    asked: Subscribing
    standing: Standing | None = None
    resumed: list[Resumed] = field(default_factory=list)
    ended: Ended | None = None
    times: array[float] = field(default_factory=lambda: array("d"))
    ids: array[int] = field(default_factory=lambda: array("q"))
    messages: array[int] = field(default_factory=lambda: array("q"))

    def delivery(self, at: int) -> Delivered:
        """The event of one delivery."""
        return Delivered(self.times[at], self.asked.subscription, self.ids[at], self.messages[at])

    def events(self) -> list[Event]:
        """All but the deliveries."""
        known = (self.asked, self.standing, *self.resumed, self.ended)
        return [event for event in known if event is not None]


@dataclass(slots=True)
class Fetch:
    """A fetch."""

    asked: Fetching
    end: Fetched | NotFound | FetchFailed | None = None


class Subject:
    """All that happened on one subject."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: list[Message] = []
        self.subscriptions: list[Subscription] = []
        self.fetches: list[Fetch] = []
        self.by_id: dict[int, Message] = {}
        """The message of each id that anybody saw."""

    def ids(self) -> list[int]:
        """The ids that anybody saw, rising."""
        return sorted(self.by_id)


class Story:
    """All that happened, by subject."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.seed = ""
        self.subjects: dict[str, Subject] = {}
        self.messages: dict[int, Message] = {}
        self.publishers: dict[str, Publisher] = {}
        self.calls: defaultdict[str, list[Message]] = defaultdict(list)
        """The messages of each publisher, in the order of its calls."""
        self.settled_at: float | None = None
        self.events = 0
        self._attempts: dict[int, Attempt] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._fetches: dict[int, Fetch] = {}
        for event in events:
            self.events += 1
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Delivered():
                subscription = self._subscriptions[event.subscription]
                subscription.times.append(event.at)
                subscription.ids.append(event.id)
                subscription.messages.append(event.message)
            case Publishing():
                self._publishing(event)
            case Acknowledged() | Refused() | Unknown():
                self._attempts[event.op].end = event
            case Subscribing():
                subscription = self._subscriptions[event.subscription] = Subscription(event)
                self._subject(event.subject).subscriptions.append(subscription)
            case Standing():
                self._subscriptions[event.subscription].standing = event
            case Resumed():
                self._subscriptions[event.subscription].resumed.append(event)
            case Ended():
                self._subscriptions[event.subscription].ended = event
            case Fetching():
                fetch = self._fetches[event.fetch] = Fetch(event)
                self._subject(event.subject).fetches.append(fetch)
            case Fetched() | NotFound() | FetchFailed():
                self._fetches[event.fetch].end = event
            case Publisher():
                self.publishers[event.name] = event
            case Began():
                self.seed = event.seed
            case Settled():
                self.settled_at = event.at

    def _publishing(self, event: Publishing) -> None:
        message = self.messages.get(event.message)
        if message is None:
            message = Message(event.message, event.subject, event.expires, event.key)
            self.messages[message.number] = message
            self._subject(message.subject).messages.append(message)
            self.calls[event.publisher].append(message)
        attempt = self._attempts[event.op] = Attempt(event)
        message.attempts.append(attempt)

    def _subject(self, name: str) -> Subject:
        if name not in self.subjects:
            self.subjects[name] = Subject(name)
        return self.subjects[name]
