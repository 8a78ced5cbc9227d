"""What each fetch gave: what was acknowledged, until it expires and not after."""

from collections.abc import Iterator

from tests.history.events import Fetched, NotFound
from tests.history.story import Fetch, Subject
from tests.history.streams import TOLERANCE
from tests.history.violations import Kind, Violation


def fetchable(subject: Subject, fetch: Fetch) -> Iterator[Violation]:
    """Yield a message that was there and not found, or found when it must be gone."""
    message = subject.by_id.get(fetch.asked.id)
    if message is None or fetch.end is None:
        return
    evidence = (*message.events(), fetch.asked, fetch.end)
    if isinstance(fetch.end, NotFound):
        there = message.expires > 0 and message.seen_at < fetch.asked.at
        if there and fetch.end.at < message.expires_after - TOLERANCE:
            text = f"id {message.id} was not found before its expiry"
            yield Violation(Kind.VANISHED, subject.name, text, evidence)
    elif isinstance(fetch.end, Fetched) and fetch.asked.at > message.expired_by + TOLERANCE:
        text = f"id {message.id} was found, though it had expired"
        yield Violation(Kind.UNDEAD, subject.name, text, evidence)
    elif isinstance(fetch.end, Fetched) and not message.expires:
        yield Violation(Kind.UNDEAD, subject.name, f"id {message.id} was found, though it was never stored", evidence)
