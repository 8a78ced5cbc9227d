"""A commit, and the cache of recent ones."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import Self

from broker.engine.outlet import Encoder
from broker.store.columns import Columns, columns_of
from broker.store.contract import NEVER_STORED, NewMessage

MESSAGE_OVERHEAD, HEADERS_OVERHEAD, COMMIT_OVERHEAD, SUBJECT_OVERHEAD = 152, 64, 496, 1024
"""Bytes that a remembered message, its headers, its commit and its subject each cost beside what is in them: objects,
slots, tables. A test holds the figures to what Python really takes: a flood of small ones must not pass the limit
either."""


NONE = Columns((), ())


class Commit:
    """The messages of one subject that were committed together: consecutive ids, one time.

    They are known by what was published or, when another broker committed them, by what subscribers get of them.

    Args:
        subject: whose they are.
        first_id: the id of the first one.
        expiries: of each message, when it stops being readable (ms), or NEVER_STORED.
        published_at: in ms.
        messages: the messages themselves, or
        encoded: the encoded messages.
    """

    __slots__ = ("_cost", "_encoded", "expiries", "first_id", "messages", "published_at", "subject")

    def __init__(
        self,
        subject: str,
        first_id: int,
        expiries: Sequence[int],
        published_at: int,
        *,
        messages: Columns = NONE,
        encoded: list[bytes] | None = None,
    ) -> None:
        self.subject = subject
        self.first_id = first_id
        self.expiries = expiries
        self.published_at = published_at
        self.messages = messages
        self._encoded = encoded
        self._cost = 0

    @classmethod
    def of(cls, subject: str, first_id: int, messages: Sequence[NewMessage], published_at: int) -> Self:
        """Return the commit of messages with the ids from `first_id` on; nobody will ask for their keys."""
        columns = columns_of(messages).anonymous()
        return cls(subject, first_id, columns.expiries, published_at, messages=columns)

    def __len__(self) -> int:
        return len(self.expiries)

    @property
    def last_id(self) -> int:
        """The id of its last message."""
        return self.first_id + len(self.expiries) - 1

    @property
    def cost(self) -> int:
        """The bytes of memory that it takes, about, once it is encoded."""
        if not self._cost:
            if self.messages.bodies:
                # Content counts twice: as published, and encoded (with its subject).
                contents = 2 * sum(map(len, self.messages.bodies))
                if self.messages.headers:
                    sizes = [2 * len(headers) + HEADERS_OVERHEAD for headers in self.messages.headers if headers]
                    contents += sum(sizes)
                contents += len(self.subject) * len(self.expiries)
            else:
                contents = sum(map(len, self._encoded or ()))
            self._cost = COMMIT_OVERHEAD + MESSAGE_OVERHEAD * len(self.expiries) + contents
        return self._cost

    def after(self, message_id: int) -> "Commit":
        """Return the part with ids above `message_id`, of which there is at least one."""
        skip = message_id + 1 - self.first_id
        if skip <= 0:
            return self
        encoded = None if self._encoded is None else self._encoded[skip:]
        return Commit(
            self.subject,
            message_id + 1,
            self.expiries[skip:],
            self.published_at,
            messages=self.messages[skip:],
            encoded=encoded,
        )

    def encoded(self, encode: Encoder) -> list[bytes]:
        """Return all its messages encoded: once, however many subscribers there are."""
        if self._encoded is None:
            self._encoded = encode(self.subject, self.first_id, self.messages, self.published_at)
        return self._encoded

    def encoded_one(self, message_id: int, encode: Encoder) -> bytes:
        """Return one of its messages encoded."""
        index = message_id - self.first_id
        if self._encoded is not None:
            return self._encoded[index]
        return encode(self.subject, message_id, self.messages[index : index + 1], self.published_at)[0]

    def expires_at(self, message_id: int) -> int:
        """Return when one of its messages stops being readable (ms), or NEVER_STORED."""
        return self.expiries[message_id - self.first_id]

    def for_live(self, now: int, encode: Encoder) -> tuple[Sequence[int], list[bytes]]:
        """Return ids and encoded messages that a live subscriber gets: all that have not expired on their way."""
        if self._first_expiry() > now:
            return range(self.first_id, self.last_id + 1), self.encoded(encode)
        return self.for_late(0, 0, now, encode)

    def _first_expiry(self) -> float:
        first = min(self.expiries)
        return first if first != NEVER_STORED else min(filter(None, self.expiries), default=math.inf)

    def for_late(self, after_id: int, stood_after: int, now: int, encode: Encoder) -> tuple[list[int], list[bytes]]:
        """Return ids and encoded messages above `after_id` that a subscriber who comes late still gets.

        Expired messages are not among them, nor fire-and-forget ones from before it subscribed (`stood_after`).
        """
        encoded = self.encoded(encode)
        ids = [
            self.first_id + index
            for index in range(max(0, after_id + 1 - self.first_id), len(encoded))
            if (expires_at := self.expiries[index]) > now
            or (expires_at == NEVER_STORED and self.first_id + index > stood_after)
        ]
        return ids, [encoded[message_id - self.first_id] for message_id in ids]


class _Subject:
    """What is remembered of one subject."""

    __slots__ = ("commits", "name", "whole_from")

    def __init__(self, commit: Commit) -> None:
        self.name = commit.subject
        self.commits: deque[Commit] = deque()
        self.whole_from = commit.first_id
        """From this id on nothing is missing, unless what came before the oldest commit is asked for."""


class RecentCommits:
    """The latest commits, bounded by bytes; the oldest go first.

    Where other brokers commit to the same subject and nobody here subscribes to it, there are holes between them. From
    the last hole on nothing is missing: a subscriber that lags a little, and most fetches, never reach the store.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.bytes = 0
        self._limit = limit_bytes
        self._order: deque[_Subject] = deque()
        """For each commit, whose it is."""
        self._by_subject: dict[str, _Subject] = {}

    def add(self, commit: Commit) -> None:
        """Remember a commit."""
        known = self._by_subject.get(commit.subject)
        if known is None or commit.first_id <= known.commits[-1].last_id:
            # Ids that come again are those of a database that lost some: nothing of before is true any more.
            known = self._by_subject[commit.subject] = _Subject(commit)
            self.bytes += SUBJECT_OVERHEAD
        elif commit.first_id != known.commits[-1].last_id + 1:
            known.whole_from = commit.first_id
        known.commits.append(commit)
        self._order.append(known)
        self.bytes += commit.cost
        while self.bytes > self._limit:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        subject = self._order.popleft()
        self.bytes -= subject.commits.popleft().cost
        if not subject.commits:
            self.bytes -= SUBJECT_OVERHEAD
            if self._by_subject.get(subject.name) is subject:
                del self._by_subject[subject.name]

    def first_id(self, subject: str) -> int | None:
        """Return the id of a subject from which on nothing is missing, None when nothing is remembered."""
        known = self._by_subject.get(subject)
        return max(known.whole_from, known.commits[0].first_id) if known else None

    def last_id(self, subject: str) -> int:
        """Return the newest id remembered of a subject, 0 when there is none."""
        known = self._by_subject.get(subject)
        return known.commits[-1].last_id if known else 0

    def next_id(self, subject: str, message_id: int) -> int | None:
        """Return the first id above `message_id` from which on nothing is missing, None when no such is remembered."""
        first_id = self.first_id(subject)
        if first_id is None or message_id >= self.last_id(subject):
            return None
        return max(first_id, message_id + 1)

    def find(self, subject: str, message_id: int) -> Commit | None:
        """Return the commit that holds a message, if it is remembered."""
        known = self._by_subject.get(subject)
        if not known or message_id < known.commits[0].first_id or message_id > known.commits[-1].last_id:
            return None
        commit = known.commits[bisect_right(known.commits, message_id, key=lambda commit: commit.first_id) - 1]
        # Others' commits may lie between ours.
        return commit if message_id <= commit.last_id else None

    def after(self, subject: str, message_id: int) -> list[Commit] | None:
        """Return the remembered commits with ids above `message_id`, or None when some are not remembered."""
        first_id = self.first_id(subject)
        if first_id is None or message_id + 1 < first_id:
            return None
        commits = self._by_subject[subject].commits
        start = bisect_right(commits, message_id, key=lambda commit: commit.last_id)
        # A deque is slow in its middle, and a subscriber that catches up is mostly near its end.
        newest = [commits[-offset] for offset in range(1, len(commits) - start + 1)]
        newest.reverse()
        return newest
