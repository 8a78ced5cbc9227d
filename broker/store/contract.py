"""What the engine asks of a store. One test suite (tests/integration/store) runs against every implementation.

Promises of every store:
- the ids of a subject are 1, 2, 3, … in commit order, and an id is never given twice, whatever expires, is deleted
  or (where the store is durable) restarts;
- when `append` returns an id, the message is as durable as the store can make it;
- a message is not returned by `read` or `get` once its `expires_at` has come;
- a message whose key was appended to the same subject before takes no id and is not stored, until the key's time has
  come. Keys outlive their messages: one that was never stored, or has expired, still keeps its key.

Times are integers: milliseconds since the Unix epoch.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from broker.errors import Refused

NEVER_STORED = 0
"""The `expires_at` of a fire-and-forget message: it takes an id, and nothing else is kept."""


class NewMessage(NamedTuple):
    """A message on its way to the store."""

    body: bytes
    expires_at: int
    """When it stops being readable (ms), or NEVER_STORED."""
    headers: bytes = b""
    """What travels with the body, in a form that only those who write and read it know."""
    key: bytes = b""
    """Names the message within its subject, so that it is taken once; empty when it has no name."""


class StoredMessage(NamedTuple):
    """A message as the store keeps it."""

    id: int
    body: bytes
    published_at: int
    expires_at: int
    headers: bytes = b""


NO_DUPLICATES: Mapping[int, int] = MappingProxyType({})
"""Shared by all who have none."""


class Appended(NamedTuple):
    """What became of one subject's messages in a batch."""

    last_id: int
    """The subject's last id before the batch: its new messages have the ids after that, in their order."""
    duplicates: Mapping[int, int] = NO_DUPLICATES
    """Messages that are not new, by their places in the subject's list: the id that the first one with the key got."""


class Page(NamedTuple):
    """A stretch of a subject's messages."""

    messages: list[StoredMessage]
    """In id order; ids are missing where messages expired or were never stored."""
    last_id: int
    """The subject's last id at the moment of the read, 0 when it has none. Messages above it are not in the page."""
    complete: bool
    """True when the page holds everything readable up to `last_id`; False when a bound ended it early."""


class StoreUsage(NamedTuple):
    """How full a store is."""

    bytes: int
    """What counts against the limit: messages, keys and overheads (memory), pages in use (sqlite), files (postgres)."""
    limit: int | None
    """The bound of `bytes`, where there is one."""
    keys_forgotten: int = 0
    """Keys that were forgotten before their time, to make room, since the store was opened (memory)."""


Batch = Mapping[str, Sequence[NewMessage]]
"""Messages by subject, each subject's in the order in which they take their ids. No subject is empty, and no key occurs
twice in a subject's list."""


class Store(Protocol):
    """A place for messages.

    Every method but `open` may raise StoreUnavailable (nothing was changed). At most `writers` tasks at a time call
    `append`, and no two of them with the same subject; the other methods may run beside them and beside each other.
    """

    @property
    def name(self) -> str:
        """How options and metrics call it, e.g. "sqlite"."""

    @property
    def durable(self) -> bool:
        """Whether what is acknowledged survives the end of the process."""

    @property
    def shared(self) -> bool:
        """Whether several replicas may use the same store."""

    @property
    def identity(self) -> str:
        """What tells a shared store from others, once it is open: random, and known to those who can read it only."""

    @property
    def writers(self) -> int:
        """How many appends at a time serve it best; each subject belongs to one writer."""

    async def open(self) -> None:
        """Make ready for use.

        Raises:
            StoreUnavailable: it cannot be opened; the message says why and what to do.
        """

    async def close(self) -> None:
        """Release everything. Calls that are under way finish first."""

    async def append(self, batch: Batch, published_at: int, keys_until: int) -> dict[str, Appended | Refused]:
        """Commit a batch: for each subject all of its messages or none.

        The keys of the batch are remembered until `keys_until` (ms); from that time on they may come again.

        `published_at` never falls from one call to the next with the same subject: `before` relies on it. Where
        replicas share the store and their clocks differ, the store keeps the latest time the subject has had.

        Returns:
            For each subject its last id *before* the batch and which of its messages are duplicates, or the error
            that refused this subject's messages.

        Raises:
            StoreFull: there was no room; nothing of the batch was stored.
            StoreUnavailable: nothing of the batch was stored.
            Unavailable: with reason OUTCOME_UNKNOWN, when it cannot be told whether the batch was stored.
        """

    async def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> Page:
        """Return readable messages with greater ids, in id order.

        At most `limit` (≥ 1) messages, and no more than fit into `max_bytes` of bodies and headers (but always one).
        """

    async def get(self, keys: Sequence[tuple[str, int]]) -> list[StoredMessage | None]:
        """Return for each (subject, id) the message, or None where there is none or it has expired."""

    async def heads(self, subjects: Sequence[str]) -> dict[str, int]:
        """Return the last id of each subject, 0 where nothing was ever published."""

    async def before(self, subject: str, published_at: int) -> int:
        """Return the id after which everything readable was published at or after the given time.

        That is one less than the first readable message's id with such a time, or the last id when there is none.
        """

    async def expire(self, limit: int) -> int:
        """Delete at most `limit` expired messages and return how many; ids are not reused.

        Keys whose time has come are deleted as well, as many as come due between two calls at full load; they do not
        count.
        """

    async def usage(self) -> StoreUsage:
        """Return how full the store is."""
