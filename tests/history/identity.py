"""Which message has which id, from all that anybody saw; and that these agree."""

from collections.abc import Iterator

from tests.history.events import Acknowledged, Event, Fetched
from tests.history.story import Message, Story, Subject
from tests.history.violations import Kind, Violation


def identify(story: Story, subject: Subject) -> Iterator[Violation]:
    """Give messages their ids and fill `subject.by_id`; yield what does not fit together.

    Acknowledgements come first: what is delivered is held against them.
    """
    for message in subject.messages:
        yield from _acknowledged(subject, message)
    for subscription in subject.subscriptions:
        seen = zip(subscription.times, subscription.ids, subscription.messages, strict=True)
        for at, (time, message_id, number) in enumerate(seen):
            known = subject.by_id.get(message_id)
            if known is not None and known.number == number and time >= known.invoked_at:
                known.seen_at = min(known.seen_at, time)
            else:
                yield from _seen(story, subject, message_id, number, time, subscription.delivery(at))
    for fetch in subject.fetches:
        if isinstance(fetch.end, Fetched):
            yield from _seen(story, subject, fetch.asked.id, fetch.end.message, fetch.end.at, fetch.asked, fetch.end)


def _acknowledged(subject: Subject, message: Message) -> Iterator[Violation]:
    first: Acknowledged | None = None
    firsts = 0
    for answer in message.acknowledgements:
        firsts += answer.duplicate is False
        if answer.id < 1:
            yield Violation(Kind.ID_REUSED, subject.name, f"{answer.id} is no id", message.events())
            continue
        message.seen_at = min(message.seen_at, answer.at)
        if first is None:
            first = answer
            yield from _bind(subject, message, answer.id, answer)
        elif answer.id != first.id:
            text = f"message {message.number} was acknowledged with the ids {first.id} and {answer.id}"
            yield Violation(Kind.DOUBLED, subject.name, text, message.events())
    if firsts > 1:
        text = f"{firsts} attempts at message {message.number} were answered as the first with the key {message.key!r}"
        yield Violation(Kind.DOUBLED, subject.name, text, message.events())


def _seen(
    story: Story, subject: Subject, message_id: int, number: int, at: float, *evidence: Event
) -> Iterator[Violation]:
    message = story.messages.get(number)
    if message is None or message.subject != subject.name:
        yield Violation(Kind.FOREIGN, subject.name, f"id {message_id} is nothing that was published here", evidence)
        return
    evidence = (*message.events(), *evidence)
    if at < message.invoked_at:
        yield Violation(Kind.FOREIGN, subject.name, f"id {message_id} came before it was published", evidence)
        return
    if message.refused:
        yield Violation(Kind.RISEN, subject.name, f"id {message_id} was refused when it was published", evidence)
        return
    message.seen_at = min(message.seen_at, at)
    yield from _bind(subject, message, message_id, *evidence)


def _bind(subject: Subject, message: Message, message_id: int, *evidence: Event) -> Iterator[Violation]:
    other = subject.by_id.setdefault(message_id, message)
    if other is not message:
        text = f"the messages {other.number} and {message.number} both have the id {message_id}"
        yield Violation(Kind.ID_REUSED, subject.name, text, (*other.events(), *evidence))
    elif message.id not in (0, message_id):
        text = f"message {message.number} has the ids {message.id} and {message_id}"
        yield Violation(Kind.DOUBLED, subject.name, text, evidence)
    else:
        message.id = message_id
