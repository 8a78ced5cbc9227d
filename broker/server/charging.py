"""What of a frame is published after its subjects were charged."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from broker.errors import Refused
from broker.server.intake import Taken


class Room(NamedTuple):
    """What the limits say to messages of one subject."""

    messages: int
    """So many may be published, the first ones."""
    error: Refused | None
    """Why the others may not."""


Rooms = Mapping[str, Room]
"""By subject; for a frame without a message that could be published, under an empty one."""


def charged(taken: Taken, rooms: Rooms) -> Taken:
    """Return what may be published, and the others refused."""
    if all(room.error is None for room in rooms.values()):
        return taken
    refused, seen = list(taken.refused), Counter[str]()
    left: list[tuple[int, str]] = []
    for place, subject in zip(taken.places, taken.order, strict=True):
        room = rooms[subject]
        if room.error is None or seen[subject] < room.messages:
            left.append((place, subject))
        else:
            refused.append((place, room.error))
        seen[subject] += 1
    parts = {subject: part.at(range(rooms[subject].messages)) for subject, part in taken.parts.items()}
    return Taken(
        {subject: part for subject, part in parts.items() if part},
        [subject for _, subject in left],
        [place for place, _ in left],
        refused,
    )


def none_has_room(taken: Taken, rooms: Rooms) -> Refused | None:
    """Return the error of all messages, if the limits refuse all of them: of those that ask to wait, the longest."""
    if taken.refused or any(room.messages for room in rooms.values()):
        return None
    errors = [room.error for room in rooms.values() if room.error]
    return max(errors, key=lambda error: error.retry_after or 0.0, default=None)
