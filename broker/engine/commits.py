"""A commit, and the cache of recent ones."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from broker.engine.outlet import Encoder
from broker.store.contract import NEVER_STORED, NewMessage

MESSAGE_OVERHEAD, COMMIT_OVERHEAD, SUBJECT_OVERHEAD = 208, 384, 1024
"""Bytes that a remembered message, its commit and its subject each cost beside bodies and names: objects, slots,
tables. A test holds the figures to what Python really takes: a flood of small ones must not pass the limit either."""


class Commit:
    """The messages of one subject that were committed together: consecutive ids, one time."""

    __slots__ = ("_encoded", "first_id", "messages", "published_at", "subject")

    def __init__(self, subject: str, first_id: int, messages: Sequence[NewMessage], published_at: int) -> None:
        self.subject = subject
        self.first_id = first_id
        self.messages = messages
        self.published_at = published_at
        self._encoded: list[bytes] | None = None

    @property
    def last_id(self) -> int:
        """The id of its last message."""
        return self.first_id + len(self.messages) - 1

    def encoded(self, encode: Encoder) -> list[bytes]:
        """Return all its messages encoded: once, however many subscribers there are."""
        if self._encoded is None:
            bodies = [message.body for message in self.messages]
            self._encoded = encode(self.subject, self.first_id, bodies, self.published_at)
        return self._encoded

    def encoded_one(self, message_id: int, encode: Encoder) -> bytes:
        """Return one of its messages encoded."""
        index = message_id - self.first_id
        if self._encoded is not None:
            return self._encoded[index]
        return encode(self.subject, message_id, [self.messages[index].body], self.published_at)[0]

    def for_late(self, after_id: int, stood_after: int, now: int, encode: Encoder) -> tuple[list[int], list[bytes]]:
        """Return ids and encoded messages above `after_id` that a subscriber who comes late still gets.

        Expired messages are not among them, nor fire-and-forget ones from before it subscribed (`stood_after`).
        """
        encoded = self.encoded(encode)
        ids = [
            self.first_id + index
            for index in range(max(0, after_id + 1 - self.first_id), len(encoded))
            if (expires_at := self.messages[index].expires_at) > now
            or (expires_at == NEVER_STORED and self.first_id + index > stood_after)
        ]
        return ids, [encoded[message_id - self.first_id] for message_id in ids]


class RecentCommits:
    """The latest commits, bounded by bytes; the oldest go first.

    What is remembered of a subject is always its newest messages without a hole, so a subscriber that lags a
    little and most fetches never reach the store.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.bytes = 0
        self._limit = limit_bytes
        self._order: deque[tuple[Commit, int]] = deque()
        self._by_subject: dict[str, deque[Commit]] = {}

    def add(self, commit: Commit) -> None:
        """Remember a commit whose ids follow the subject's last one."""
        # Each body counts twice: as published, and encoded (with its subject) once somebody asks for it.
        size = COMMIT_OVERHEAD + sum([2 * len(message.body) for message in commit.messages])
        size += (MESSAGE_OVERHEAD + len(commit.subject)) * len(commit.messages)
        known = self._by_subject.get(commit.subject)
        if known is None:
            known = self._by_subject[commit.subject] = deque()
            self.bytes += SUBJECT_OVERHEAD
        known.append(commit)
        self._order.append((commit, size))
        self.bytes += size
        while self.bytes > self._limit:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        commit, size = self._order.popleft()
        self.bytes -= size
        known = self._by_subject[commit.subject]
        known.popleft()
        if not known:
            del self._by_subject[commit.subject]
            self.bytes -= SUBJECT_OVERHEAD

    def first_id(self, subject: str) -> int | None:
        """Return the oldest id remembered of a subject."""
        known = self._by_subject.get(subject)
        return known[0].first_id if known else None

    def last_id(self, subject: str) -> int:
        """Return the newest id remembered of a subject, 0 when there is none."""
        known = self._by_subject.get(subject)
        return known[-1].last_id if known else 0

    def find(self, subject: str, message_id: int) -> Commit | None:
        """Return the commit that holds a message, if it is remembered."""
        known = self._by_subject.get(subject)
        if not known or message_id < known[0].first_id or message_id > known[-1].last_id:
            return None
        commit = known[bisect_right(known, message_id, key=lambda commit: commit.first_id) - 1]
        # On a store that replicas share, others' commits lie between ours.
        return commit if message_id <= commit.last_id else None

    def after(self, subject: str, message_id: int) -> list[Commit] | None:
        """Return the remembered commits with ids above `message_id`, or None when some are no longer remembered."""
        known = self._by_subject.get(subject)
        if not known or message_id + 1 < known[0].first_id:
            return None
        start = bisect_right(known, message_id, key=lambda commit: commit.last_id)
        # A deque is slow in its middle, and a subscriber that catches up is mostly near its end.
        newest = [known[-offset] for offset in range(1, len(known) - start + 1)]
        newest.reverse()
        return newest
