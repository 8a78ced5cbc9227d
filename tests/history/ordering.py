"""Ids of a subject: dense, in the order of commits, and in the order of each ordered publisher's calls."""

import math
from collections import defaultdict
from collections.abc import Iterator

from tests.history.story import Message, Story, Subject
from tests.history.streams import TOLERANCE, passed
from tests.history.violations import Kind, Violation


def commit_order(subject: Subject) -> Iterator[Violation]:
    """Yield messages whose id is below that of one which was there before they were published."""
    earliest: Message | None = None
    for message_id in reversed(subject.ids()):
        message = subject.by_id[message_id]
        if earliest is not None and earliest.seen_at < message.invoked_at:
            text = f"id {message.id} was published after id {earliest.id} was there"
            yield Violation(Kind.COMMIT_ORDER, subject.name, text, (*earliest.events(), *message.events()))
        elif earliest is None or message.seen_at < earliest.seen_at:
            earliest = message


def holes(subject: Subject) -> Iterator[Violation]:
    """Yield ids that nobody's message has, and no publish with an unknown outcome may have.

    An unknown message may have taken an id without being seen: when it was never stored, or had expired before a
    subscriber came past.
    """
    ids = subject.ids()
    missing = sorted(set(range(1, ids[-1] + 1)) - set(ids)) if ids else []
    spare = [message for message in subject.messages if not message.id and not message.refused]
    for hole in missing:
        above = next(subject.by_id[message_id] for message_id in ids if message_id > hole)
        passed_at = min((passed(subject, one, hole) for one in subject.subscriptions), default=math.inf)
        for message in spare:
            never_stored = message.expires == 0
            expired = message.expires_after - TOLERANCE <= passed_at
            if message.invoked_at < above.seen_at and (never_stored or expired):
                spare.remove(message)
                break
        else:
            text = f"no message has the id {hole}, and id {above.id} exists"
            yield Violation(Kind.ID_HOLE, subject.name, text, above.events())


def publisher_order(story: Story) -> Iterator[Violation]:
    """Yield acknowledged messages of ordered publishers whose ids do not rise with the calls."""
    for name, messages in story.calls.items():
        publisher = story.publishers.get(name)
        if publisher is None or not publisher.ordered:
            continue
        last: defaultdict[str, Message | None] = defaultdict(lambda: None)
        for message in messages:
            if next(message.acknowledgements, None) is None:
                continue
            before = last[message.subject]
            if before is not None and message.id < before.id:
                text = f"{name} ({publisher.how}) published id {before.id} before id {message.id}"
                evidence = (*before.events(), *message.events())
                yield Violation(Kind.PUBLISHER_ORDER, message.subject, text, evidence)
            last[message.subject] = message
