"""Messages as columns: how they travel from a request to the store without a step of Python for each of them."""

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, repeat
from typing import Self, overload

from broker.store.contract import NewMessage, StoredMessage


class Columns(Sequence[NewMessage]):
    """The fields of NewMessage, each for all messages. As a sequence it is one of NewMessages.

    Where many are kept, the columns are best tuples: the garbage collector leaves tuples of plain values alone.

    Args:
        bodies: one for each message.
        expiries: one for each message.
        headers: one for each message, or nothing when no message has any.
        keys: one for each message, or nothing when no message has one.
    """

    __slots__ = ("bodies", "expiries", "headers", "keys")

    def __init__(
        self,
        bodies: Sequence[bytes],
        expiries: Sequence[int],
        headers: Sequence[bytes] = (),
        keys: Sequence[bytes] = (),
    ) -> None:
        self.bodies = bodies
        self.expiries = expiries
        self.headers = headers
        self.keys = keys

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the messages of all parts, of which there is at least one, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            tuple(chain.from_iterable([part.bodies for part in parts])),
            tuple(chain.from_iterable([part.expiries for part in parts])),
            _joined([part.headers for part in parts], parts),
            _joined([part.keys for part in parts], parts),
        )

    def without(self, places: Collection[int]) -> Self:
        """Return the messages but those at some places."""
        if not places:
            return self
        return self.at([place for place in range(len(self.bodies)) if place not in places])

    def at(self, places: Sequence[int]) -> Self:
        """Return the messages at some places."""
        return type(self)(
            tuple([self.bodies[place] for place in places]),
            tuple([self.expiries[place] for place in places]),
            tuple([self.headers[place] for place in places]) if self.headers else (),
            tuple([self.keys[place] for place in places]) if self.keys else (),
        )

    def anonymous(self) -> Self:
        """Return the messages without their keys."""
        return type(self)(self.bodies, self.expiries, self.headers) if self.keys else self

    @property
    def size(self) -> int:
        """Bytes of bodies, headers and keys."""
        size = sum(map(len, self.bodies))
        if self.headers:
            size += sum(map(len, self.headers))
        if self.keys:
            size += sum(map(len, self.keys))
        return size

    def __len__(self) -> int:
        return len(self.bodies)

    def __iter__(self) -> Iterator[NewMessage]:
        columns = self.bodies, self.expiries, self.headers or repeat(b""), self.keys or repeat(b"")
        return map(NewMessage._make, zip(*columns, strict=False))

    @overload
    def __getitem__(self, place: int) -> NewMessage: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> NewMessage | Self:
        if isinstance(place, slice):
            return type(self)(self.bodies[place], self.expiries[place], self.headers[place], self.keys[place])
        headers, key = self.headers[place] if self.headers else b"", self.keys[place] if self.keys else b""
        return NewMessage(self.bodies[place], self.expiries[place], headers, key)


def columns_of(messages: Sequence[NewMessage]) -> Columns:
    """Return messages as columns."""
    if isinstance(messages, Columns):
        return messages
    if not messages:
        return Columns((), ())
    bodies, expiries, headers, keys = zip(*messages, strict=True)
    return Columns(bodies, expiries, headers if any(headers) else (), keys if any(keys) else ())


def runs_of(stored: Sequence[StoredMessage]) -> Iterator[tuple[int, int, Columns]]:
    """Divide stored messages, in id order, into runs of consecutive ids and one time: (first id, time, messages)."""
    if not stored:
        return
    ids, bodies, times, expiries, headers = zip(*stored, strict=True)
    start = 0
    for end in range(1, len(ids) + 1):
        if end < len(ids) and times[end] == times[start] and ids[end] - ids[start] == end - start:
            continue
        of_run = headers[start:end]
        yield (
            ids[start],
            times[start],
            Columns(bodies[start:end], expiries[start:end], of_run if any(of_run) else ()),
        )
        start = end


def _joined(columns: Sequence[Sequence[bytes]], parts: Sequence[Columns]) -> Sequence[bytes]:
    if not any(columns):
        return ()
    return tuple(
        chain.from_iterable([column or [b""] * len(part) for column, part in zip(columns, parts, strict=True)])
    )
