"""One subject's commits in one order without gaps, whoever brings them and in whichever order they come.

Ids are dense, so a commit shows by its first id whether something is missing before it. Such a commit waits, for what
is missing may be on its way from another broker; what does not come is read from the store (`broker.engine.gaps`).
"""

from bisect import insort
from operator import attrgetter

from broker.engine.commits import Commit

MAX_EARLY_MESSAGES = 10_000
MAX_EARLY_BYTES = 8 << 20
"""What waits behind a gap of one subject. The rest is left to the store, which has it as well."""

_first_id_of = attrgetter("first_id")


class Flow:
    """Puts commits in order. It begins when it is told the subject's last id; until then everything waits."""

    __slots__ = ("_early", "early_bytes", "early_messages", "expected", "head")

    def __init__(self) -> None:
        self.head: int | None = None
        """Everything up to this id was passed on or skipped; None before the beginning."""
        self.expected = 0
        """The highest id that is known to be committed."""
        self._early: list[Commit] = []
        """What came before what it follows, by first id."""
        self.early_messages = 0
        self.early_bytes = 0

    @property
    def missing(self) -> int:
        """How many messages are known to be committed and were not passed on; 0 before the beginning."""
        return 0 if self.head is None else max(0, self.expected - self.head)

    @property
    def gap_ends(self) -> int:
        """The last id of the gap behind `head`: what follows it has come, or nothing is known of it."""
        return self._early[0].first_id - 1 if self._early else self.expected

    def begin(self, last_id: int) -> list[Commit]:
        """Say which id is the subject's last one: what came meanwhile and is above it can be passed on.

        Returns:
            Commits to pass on, in order; none when it has begun before.
        """
        if self.head is not None:
            return []
        return self.skip_to(last_id)

    def take(self, commit: Commit) -> list[Commit]:
        """Take a commit, from here or from another broker. One that came before, or parts of it, are dropped.

        Returns:
            Commits to pass on, in order.
        """
        self.expected = max(self.expected, commit.last_id)
        if commit.first_id - 1 == self.head and not self._early:
            self.head = commit.last_id
            return [commit]
        if self.head is None or commit.last_id > self.head:
            self._keep(commit)
        return self._ready()

    def expect(self, last_id: int) -> None:
        """Say that messages up to this id are committed."""
        self.expected = max(self.expected, last_id)

    def skip_to(self, message_id: int) -> list[Commit]:
        """Go on behind this id: what lies before it and did not come is nowhere to be found.

        Returns:
            Commits to pass on, in order.
        """
        ready: list[Commit] = []
        while self.head is not None and self._early and self._early[0].first_id <= message_id:
            self.head = max(self.head, self._early[0].first_id - 1)
            ready += self._ready()
        self.head = max(self.head or 0, message_id)
        self.expected = max(self.expected, self.head)
        return ready + self._ready()

    def _keep(self, commit: Commit) -> None:
        insort(self._early, commit, key=_first_id_of)
        self.early_messages += len(commit)
        self.early_bytes += commit.cost
        while len(self._early) > 1 and (self.early_messages > MAX_EARLY_MESSAGES or self.early_bytes > MAX_EARLY_BYTES):
            self._let_go(self._early.pop())

    def _let_go(self, commit: Commit) -> None:
        self.early_messages -= len(commit)
        self.early_bytes -= commit.cost

    def _ready(self) -> list[Commit]:
        ready: list[Commit] = []
        if self.head is None:
            return ready
        due = 0
        for due, commit in enumerate(self._early, 1):
            if commit.first_id > self.head + 1:
                due -= 1
                break
            self._let_go(commit)
            if commit.last_id > self.head:
                ready.append(commit.after(self.head))
                self.head = commit.last_id
        del self._early[:due]
        return ready
