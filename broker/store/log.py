"""One subject's messages in memory: appended at the end, removed anywhere, found by bisection."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Final

Record = tuple[int, bytes, int, int, bytes]
"""The fields of a StoredMessage. Plain tuples of plain values: the garbage collector leaves them alone, so that a
million of them cost no pauses (named tuples would: 120 ms each, measured)."""

CHUNK = 512
"""Messages in a chunk: removing from the middle moves at most so many pointers."""

ID: Final = 0
BODY: Final = 1
PUBLISHED_AT: Final = 2
EXPIRES_AT: Final = 3
HEADERS: Final = 4

_id_of = itemgetter(ID)
_published_at_of = itemgetter(PUBLISHED_AT)


class MessageLog:
    """Messages in id order, in chunks. Ids rise along the log, times do not fall."""

    __slots__ = ("_chunks", "_starts")

    def __init__(self) -> None:
        self._chunks: list[list[Record]] = []
        self._starts: list[int] = []
        """For each chunk an id that is not above its first, and above all of the chunk before it."""

    def extend(self, messages: Iterable[Record]) -> None:
        """Add messages whose ids are above all others."""
        for message in messages:
            if not self._chunks or len(self._chunks[-1]) >= CHUNK:
                self._chunks.append([])
                self._starts.append(message[ID])
            self._chunks[-1].append(message)

    def find(self, message_id: int) -> Record | None:
        """Return the message with this id."""
        message = next(self.after(message_id - 1), None)
        return message if message is not None and message[ID] == message_id else None

    def after(self, message_id: int) -> Iterator[Record]:
        """Yield the messages with greater ids. The log must not change meanwhile."""
        at = max(bisect_right(self._starts, message_id) - 1, 0)
        return self._from(at, message_id, _id_of)

    def published_from(self, published_at: int) -> Iterator[Record]:
        """Yield the messages that were published at or after a time. The log must not change meanwhile."""
        at = bisect_left(self._chunks, published_at, key=lambda chunk: chunk[-1][PUBLISHED_AT])
        return self._from(at, published_at - 1, _published_at_of)

    def _from(self, at: int, bound: int, key: "itemgetter[int]") -> Iterator[Record]:
        for index in range(at, len(self._chunks)):
            chunk = self._chunks[index]
            first = bisect_right(chunk, bound, key=key) if index == at else 0
            for position in range(first, len(chunk)):
                yield chunk[position]

    def remove(self, first_id: int, last_id: int) -> list[Record]:
        """Take out the messages with ids from first to last, both included, and return them."""
        removed: list[Record] = []
        at = max(bisect_right(self._starts, first_id) - 1, 0)
        while at < len(self._chunks) and self._starts[at] <= last_id:
            chunk = self._chunks[at]
            begin = bisect_left(chunk, first_id, key=_id_of)
            end = bisect_right(chunk, last_id, key=_id_of)
            removed += chunk[begin:end]
            del chunk[begin:end]
            if chunk:
                at += 1
            else:
                del self._chunks[at], self._starts[at]
        return removed
