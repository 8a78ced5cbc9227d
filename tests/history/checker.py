"""Holds a history against what the broker promises (docs/architecture.md). Pure: events in, violations out."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.history import fetches, ordering, streams
from tests.history.events import Acknowledged, Event, Refused
from tests.history.identity import identify
from tests.history.story import Story, Subject
from tests.history.violations import Kind, Violation

_SHOWN = 10
"""Violations of one kind that are kept; the rest is counted."""


@dataclass
class Verdict:
    """What a history shows.

    Attributes:
        violations: broken promises, at most a few of each kind.
        found: how many there are of each kind.
        events: how many events were looked at.
        counts: what was checked, by name.
    """

    violations: list[Violation] = field(default_factory=list)
    found: Counter[Kind] = field(default_factory=Counter)
    events: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, violations: Iterable[Violation]) -> None:
        """Count violations, and keep the first of each kind."""
        for violation in violations:
            self.found[violation.kind] += 1
            if self.found[violation.kind] <= _SHOWN:
                self.violations.append(violation)


def check(events: Iterable[Event]) -> Verdict:
    """Check a history from its beginning; one that was broken off is checked as far as it goes."""
    story = Story(events)
    verdict = Verdict(events=story.events)
    for subject in story.subjects.values():
        # First: the others need to know which message has which id.
        verdict.add(identify(story, subject))
        verdict.add(_check(story, subject))
    verdict.add(ordering.publisher_order(story))
    _count(story, verdict.counts)
    return verdict


def _check(story: Story, subject: Subject) -> Iterator[Violation]:
    yield from ordering.commit_order(subject)
    yield from ordering.holes(subject)
    for subscription in subject.subscriptions:
        yield from streams.rising(subject, subscription)
        yield from streams.start(subject, subscription)
        yield from streams.complete(subject, subscription, story.settled_at)
        yield from streams.replayed(subject, subscription)
        yield from streams.broken_off(subject, subscription, story.settled_at)
    for fetch in subject.fetches:
        yield from fetches.fetchable(subject, fetch)


def _count(story: Story, counts: Counter[str]) -> None:
    for message in story.messages.values():
        for attempt in message.attempts:
            if isinstance(attempt.end, Acknowledged):
                counts["duplicates" if attempt.end.duplicate else "acknowledged"] += 1
            else:
                counts["refused" if isinstance(attempt.end, Refused) else "unknown"] += 1
    for subject in story.subjects.values():
        counts["subscriptions"] += len(subject.subscriptions)
        counts["fetches"] += len(subject.fetches)
        for subscription in subject.subscriptions:
            counts["deliveries"] += len(subscription.ids)
            counts["reconnects"] += len(subscription.resumed)
            counts["fire-and-forget missed live"] += streams.missed(subject, subscription)
