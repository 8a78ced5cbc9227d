"""What each subscription got: in order, once, from its start on, everything that was stored."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from tests.history.story import Subject, Subscription
from tests.history.violations import Kind, Violation

TOLERANCE = 1.0
"""How exactly an expiry is held to, in seconds."""


def rising(subject: Subject, subscription: Subscription) -> Iterator[Violation]:
    """Yield ids that do not rise."""
    highest, highest_at = 0, 0
    for at, message_id in enumerate(subscription.ids):
        if message_id > highest:
            highest, highest_at = message_id, at
            continue
        kind = Kind.REPEATED if message_id in subscription.ids[:at] else Kind.DISORDERED
        evidence = (*subscription.events(), subscription.delivery(highest_at), subscription.delivery(at))
        yield Violation(kind, subject.name, f"id {message_id} came after id {highest}", evidence)


def start(subject: Subject, subscription: Subscription) -> Iterator[Violation]:
    """Yield deliveries from before the start, and a position that cannot be."""
    asked, standing = subscription.asked, subscription.standing
    if asked.start.startswith("after "):
        bound = int(asked.start.removeprefix("after "))
    elif asked.start == "latest":
        bound = _last_before(subject, asked.at)
        if standing is not None and standing.position is not None:
            first_after = _first_after(subject, standing.at)
            if first_after is not None and standing.position >= first_after:
                text = f"the subscription stood at {standing.position}, but id {first_after} was published after that"
                evidence = (asked, standing, *subject.by_id[first_after].events())
                yield Violation(Kind.LOST, subject.name, text, evidence)
            bound = max(bound, standing.position)
    else:
        return
    for at, message_id in enumerate(subscription.ids):
        if message_id <= bound:
            text = f"id {message_id} came to a subscription that starts after id {bound}"
            yield Violation(Kind.EARLY, subject.name, text, (*subscription.events(), subscription.delivery(at)))


def complete(subject: Subject, subscription: Subscription, settled_at: float | None) -> Iterator[Violation]:
    """Yield stored messages that the subscription went past, or, if it lived on, never came to.

    A message may be missing when it expired before the subscription got a later one: the subscription may have been
    reading on from the store.
    """
    first = required_from(subject, subscription)
    last = subscription.ids[-1] if subscription.ids else 0
    if subscription.ended is None and settled_at is not None:
        last = max(subject.by_id, default=0)
    got = set(subscription.ids)
    for message_id in range(first + 1, last + 1):
        if message_id in got:
            continue
        message = subject.by_id.get(message_id)
        if message is None or message.expires == 0:
            continue
        at = bisect_right(subscription.ids, message_id)
        passed_at = subscription.times[at] if at < len(subscription.ids) else settled_at
        if passed_at is not None and passed_at < message.expires_after - TOLERANCE:
            later = [subscription.delivery(at)] if at < len(subscription.ids) else []
            text = f"id {message_id} was not delivered to subscription {subscription.asked.subscription}"
            evidence = (*subscription.events(), *message.events(), *later)
            yield Violation(Kind.LOST, subject.name, text, evidence)


def missed(subject: Subject, subscription: Subscription) -> int:
    """Return how many fire-and-forget messages a subscription went past that listened live from its beginning."""
    if not subscription.ids or subscription.asked.start != "latest":
        return 0
    got = set(subscription.ids)
    passing = range(required_from(subject, subscription) + 1, subscription.ids[-1])
    return sum(1 for one in passing if one not in got and one in subject.by_id and subject.by_id[one].expires == 0)


def replayed(subject: Subject, subscription: Subscription) -> Iterator[Violation]:
    """Yield messages that had expired before the connection on which they came was asked for."""
    asked = [subscription.asked.at, *(one.asked_at for one in subscription.resumed)]
    stood = [0.0, *(one.at for one in subscription.resumed)]
    for at, message_id in enumerate(subscription.ids):
        message = subject.by_id.get(message_id)
        if message is None or not message.expires:
            continue
        asked_at = asked[bisect_right(stood, subscription.times[at]) - 1]
        if message.expired_by + TOLERANCE < asked_at:
            text = f"id {message_id} was delivered, though it had expired before the subscriber connected"
            evidence = (*message.events(), *subscription.events(), subscription.delivery(at))
            yield Violation(Kind.UNDEAD, subject.name, text, evidence)


def broken_off(subject: Subject, subscription: Subscription, settled_at: float | None) -> Iterator[Violation]:
    """Yield subscriptions that ended by themselves, or still wait to stand when all is whole.

    One that never stood may fail, and be asked for again; not for a start that it was told is possible.
    """
    ended, stood = subscription.ended, subscription.standing is not None
    if ended is not None and not ended.left and (stood or ended.reason == "START_BEYOND_END"):
        yield Violation(Kind.BROKEN_OFF, subject.name, f"it ended: {ended.reason}", subscription.events())
    elif ended is None and not stood and settled_at is not None:
        yield Violation(Kind.BROKEN_OFF, subject.name, "it never stood", subscription.events())


def required_from(subject: Subject, subscription: Subscription) -> int:
    """Return the id after which every stored message must come."""
    asked, standing = subscription.asked, subscription.standing
    if asked.start.startswith("after "):
        return int(asked.start.removeprefix("after "))
    if asked.start == "earliest":
        return 0
    if standing is None:
        return max(subject.by_id, default=0)
    if standing.position is not None:
        return standing.position
    candidates = [*subscription.ids[:1], _first_after(subject, standing.at)]
    return min((one - 1 for one in candidates if one is not None), default=max(subject.by_id, default=0))


def passed(subject: Subject, subscription: Subscription, message_id: int) -> float:
    """Return when the subscription came to a higher id without this one, which it should have got; else infinite."""
    at = bisect_left(subscription.ids, message_id)
    if at == len(subscription.ids) or message_id <= required_from(subject, subscription):
        return math.inf
    return subscription.times[at]


def _last_before(subject: Subject, at: float) -> int:
    """Return the highest id that somebody had seen before a moment."""
    return max((message_id for message_id, one in subject.by_id.items() if one.seen_at < at), default=0)


def _first_after(subject: Subject, at: float) -> int | None:
    """Return the lowest id that was published after a moment."""
    return min((message_id for message_id, one in subject.by_id.items() if one.invoked_at > at), default=None)
