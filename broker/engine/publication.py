"""What is published together, and how it is divided among commits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Self, TypeGuard

from broker.errors import Refused
from broker.store.columns import Columns, columns_of
from broker.store.contract import NewMessage


class Duplicate(int):
    """The id that an earlier message with the same key got."""

    __slots__ = ()


Outcome = int | Refused
"""The id that a message got (a Duplicate when it is not new), or why it got none."""

Outcomes = Sequence[Outcome]
"""Those of a publication's messages, in its order; a range of ids when they are new neighbours in one subject."""


def all_new(outcomes: Outcomes) -> TypeGuard[Sequence[int]]:
    """Whether all of them are ids, and none a Duplicate."""
    return isinstance(outcomes, range) or set(map(type, outcomes)) == {int}


class Publication:
    """Messages that are answered together: those of one frame, or of the calls that arrived together.

    Args:
        parts: the messages by subject, each subject's in the order in which they take their ids.
        done: called once, with an outcome for each message.
        order: the subject of each message, in the order in which they were published; it may be missing where there
            is but one.

    Attributes:
        count: how many messages there are.
        size: bytes of bodies, headers and keys.
    """

    __slots__ = ("count", "done", "order", "parts", "size")

    def __init__(
        self, parts: Mapping[str, Columns], done: Callable[[Outcomes], None], order: Sequence[str] = ()
    ) -> None:
        self.parts = parts
        self.done = done
        self.order = order
        self.count = self.size = 0
        for messages in parts.values():
            self.count += len(messages.bodies)
            self.size += messages.size

    @classmethod
    def of(cls, messages: Sequence[tuple[str, NewMessage]], done: Callable[[Outcomes], None]) -> Self:
        """Return a publication of messages, each with its subject."""
        parts: dict[str, list[NewMessage]] = {}
        for subject, message in messages:
            parts.setdefault(subject, []).append(message)
        columns = {subject: columns_of(part) for subject, part in parts.items()}
        return cls(columns, done, [subject for subject, _ in messages])

    def in_order(self, outcomes: Mapping[str, Outcomes]) -> Outcomes:
        """Put the outcomes of each subject's messages in the order in which they were published."""
        if len(outcomes) == 1:
            return next(iter(outcomes.values()))
        following = {subject: iter(part) for subject, part in outcomes.items()}
        return [next(following[subject]) for subject in self.order]


def split(publication: Publication, shards: int) -> Iterable[tuple[int, Publication]]:
    """Divide a publication by its subjects' shards: (shard, part), each part in the publication's order.

    The publication is done, with all outcomes in its own order, when all its parts are.
    """
    if shards == 1:
        return [(0, publication)]
    subjects: dict[int, list[str]] = {}
    for subject in publication.parts:
        subjects.setdefault(hash(subject) % shards, []).append(subject)
    if len(subjects) == 1:
        return [(shard, publication) for shard in subjects]
    gathering = _Gathering(publication, len(subjects))
    return [(shard, gathering.part(share)) for shard, share in subjects.items()]


class _Gathering:
    """Puts the outcomes of a publication's parts together."""

    def __init__(self, publication: Publication, parts: int) -> None:
        self._publication = publication
        self._outcomes: dict[str, list[Outcome]] = {}
        self._missing = parts

    def part(self, subjects: list[str]) -> Publication:
        """Return a publication of these subjects' messages, one subject's after the other's."""
        parts = {subject: self._publication.parts[subject] for subject in subjects}

        def done(outcomes: Outcomes) -> None:
            told = iter(outcomes)
            for subject, messages in parts.items():
                self._outcomes[subject] = [next(told) for _ in messages.bodies]
            self._missing -= 1
            if not self._missing:
                self._publication.done(self._publication.in_order(self._outcomes))

        order = list(chain.from_iterable([[subject] * len(messages) for subject, messages in parts.items()]))
        return Publication(parts, done, order)
