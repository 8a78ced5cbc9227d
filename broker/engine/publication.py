"""What is published together, and how it is divided among commits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.errors import Refused
from broker.store.contract import NewMessage


class Duplicate(int):
    """The id that an earlier message with the same key got."""

    __slots__ = ()


Outcome = int | Refused
"""The id that a message got (a Duplicate when it is not new), or why it got none."""


@dataclass(slots=True)
class Publication:
    """Messages that are answered together: those of one frame, or of the calls that arrived together."""

    messages: list[tuple[str, NewMessage]]
    """Subject and message, in the order in which they take their ids."""
    done: Callable[[list[Outcome]], None]
    """Called once, with an outcome for each message."""
    size: int = 0
    """Bytes of bodies, headers and keys."""

    def __post_init__(self) -> None:
        self.size = sum([len(body) + len(headers) + len(key) for _, (body, _, headers, key) in self.messages])


def split(publication: Publication, shards: int) -> Iterable[tuple[int, Publication]]:
    """Divide a publication by its subjects' shards: (shard, part), each part in the publication's order.

    The publication is done, with all outcomes in its own order, when all its parts are.
    """
    if shards == 1:
        return [(0, publication)]
    places: dict[int, list[int]] = {}
    for place, (subject, _) in enumerate(publication.messages):
        places.setdefault(hash(subject) % shards, []).append(place)
    if len(places) == 1:
        return [(shard, publication) for shard in places]
    gathering = _Gathering(publication, len(places))
    return [(shard, gathering.part(share)) for shard, share in places.items()]


class _Gathering:
    """Puts the outcomes of a publication's parts together."""

    def __init__(self, publication: Publication, parts: int) -> None:
        self._publication = publication
        self._outcomes: list[Outcome] = [0] * len(publication.messages)
        self._missing = parts

    def part(self, places: list[int]) -> Publication:
        """Return a publication of the messages at these places."""

        def done(outcomes: list[Outcome]) -> None:
            for place, outcome in zip(places, outcomes, strict=True):
                self._outcomes[place] = outcome
            self._missing -= 1
            if not self._missing:
                self._publication.done(self._outcomes)

        messages = self._publication.messages
        return Publication([messages[place] for place in places], done)
