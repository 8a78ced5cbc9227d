"""A perfect broker that exists only on paper: what it tells is a history without a violation."""

import random
from dataclasses import dataclass

from tests.history.events import (
    Acknowledged,
    Began,
    Delivered,
    Ended,
    Event,
    Fetched,
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

_SUBJECTS = ("a", "b")


@dataclass
class _Kept:
    id: int
    message: int
    expires: int
    published_at: float

    def readable(self, now: float) -> bool:
        return now < self.published_at + self.expires


@dataclass
class _Listening:
    number: int
    subject: str
    reached: int
    """The id up to which it has everything."""


class Model:
    """Does at random what clients do; `events` is the history of it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._now = 0.0
        self._numbers = 0
        self._logs: dict[str, list[_Kept]] = {subject: [] for subject in _SUBJECTS}
        self._listening: list[_Listening] = []
        self._keys: list[tuple[Publishing, int]] = []
        self.events: list[Event] = [Began(0.0, str(seed), 1e9), Publisher(0.0, "p", "one at a time", True)]

    def run(self, steps: int) -> list[Event]:
        """Do so many things, let every subscriber catch up, and return the history."""
        doing = [self.publish] * 6 + [self.deliver] * 8 + [self.subscribe, self.leave, self.resume, self.again]
        doing += [self.fetch] * 2
        for subject in _SUBJECTS:
            self.subscribe(subject, "earliest")
        for _ in range(steps):
            self._random.choice(doing)()
        for subject in _SUBJECTS:
            self.publish(subject, "acknowledged", 3600)
        for one in self._listening:
            while self.deliver(one):
                pass
        self.events.append(Settled(self._tick()))
        return self.events

    def publish(self, subject: str = "", outcome: str = "", expires: int | None = None) -> None:
        number, key = self._number(), self._random.choice(["", f"key-{self._numbers}"])
        outcome = outcome or self._random.choice(["acknowledged"] * 6 + ["stored", "lost", "refused"])
        subject = subject or self._random.choice(_SUBJECTS)
        expires = self._random.choice([0, 2, 3600]) if expires is None else expires
        asked = Publishing(self._tick(), number, number, "p", subject, expires, key)
        self.events.append(asked)
        message_id = 0
        if outcome in ("acknowledged", "stored"):
            message_id = len(self._logs[subject]) + 1
            self._logs[subject].append(_Kept(message_id, number, expires, self._tick()))
            # What is never stored reaches the present subscribers or nobody; here, those that have all before it.
            for one in self._listening:
                if one.subject == subject and one.reached == message_id - 1 and not expires:
                    self.deliver(one)
        if outcome == "acknowledged":
            self.events.append(Acknowledged(self._tick(), number, message_id, False))
        elif outcome == "refused":
            self.events.append(Refused(self._tick(), number, "STORE_UNAVAILABLE"))
        else:
            self.events.append(Unknown(self._tick(), number, "OUTCOME_UNKNOWN"))
        if key and outcome != "refused":
            self._keys.append((asked, message_id))

    def again(self) -> None:
        """Publish again what has a key and an id."""
        kept = [(asked, message_id) for asked, message_id in self._keys if message_id]
        if kept:
            asked, message_id = self._random.choice(kept)
            number = self._number()
            self.events.append(asked._replace(at=self._tick(), op=number))
            self.events.append(Acknowledged(self._tick(), number, message_id, True))

    def subscribe(self, subject: str = "", start: str = "") -> None:
        subject = subject or self._random.choice(_SUBJECTS)
        head = len(self._logs[subject])
        start = start or self._random.choice(["latest", "earliest", f"after {self._random.randint(0, head)}"])
        number = self._number()
        self.events.append(Subscribing(self._tick(), number, subject, start, "on paper"))
        told = self._random.choice([head, None]) if start == "latest" else None
        self.events.append(Standing(self._tick(), number, told))
        reached = {"latest": head, "earliest": 0}.get(start)
        self._listening.append(_Listening(number, subject, int(start[6:]) if reached is None else reached))

    def deliver(self, one: _Listening | None = None) -> bool:
        """Deliver the next message that can be to a subscriber; False when there is none."""
        one = one or self._random.choice(self._listening)
        for kept in self._logs[one.subject][one.reached :]:
            one.reached = kept.id
            newest = kept.id == len(self._logs[one.subject])
            if kept.readable(self._now) or (not kept.expires and newest and self._now == kept.published_at):
                self.events.append(Delivered(self._tick(0.01), one.number, kept.id, kept.message))
                return True
        return False

    def leave(self) -> None:
        """One that is not there from the beginning to the end leaves."""
        if len(self._listening) > len(_SUBJECTS):
            one = self._listening.pop(self._random.randrange(len(_SUBJECTS), len(self._listening)))
            self.events.append(Ended(self._tick(), one.number, True, "enough"))

    def resume(self) -> None:
        one = self._random.choice(self._listening)
        asked_at = self._tick()
        self.events.append(Resumed(self._tick(), one.number, asked_at, "UNAVAILABLE"))

    def fetch(self) -> None:
        subject, number = self._random.choice(_SUBJECTS), self._number()
        if not self._logs[subject]:
            return
        kept = self._random.choice(self._logs[subject])
        self.events.append(Fetching(self._tick(0.01), number, subject, kept.id))
        found = kept.readable(self._now)
        self.events.append(
            Fetched(self._tick(0.01), number, kept.message) if found else NotFound(self._tick(0.01), number)
        )

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _tick(self, most: float = 0.2) -> float:
        self._now += self._random.uniform(0.001, most)
        return self._now
