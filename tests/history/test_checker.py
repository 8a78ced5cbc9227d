"""The checker finds nothing in the histories of a perfect broker, and everything that is done to them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.history.checker import Verdict, check
from tests.history.events import (
    NOT_OURS,
    Acknowledged,
    Delivered,
    Ended,
    Event,
    Fetched,
    Fetching,
    NotFound,
    Publishing,
    Refused,
    Resumed,
    Settled,
    Standing,
    Subscribing,
    Unknown,
    line,
    parse,
    read,
)
from tests.history.model import Model
from tests.history.violations import Kind

SEEDS = range(20)
STEPS = 150


@given(seed=st.integers(0, 2**32), steps=st.integers(0, 300))
def test_a_perfect_broker_breaks_nothing(seed: int, steps: int) -> None:
    verdict = check(Model(seed).run(steps))
    assert not verdict.violations, verdict.violations[0]


class Story:
    """A perfect history with which something is done."""

    def __init__(self, seed: int) -> None:
        self.events = Model(seed).run(STEPS)
        self.random = random.Random(seed)
        self.published = {event.message: event for event in self.events if isinstance(event, Publishing)}
        self.subscribed = {event.subscription: event for event in self.events if isinstance(event, Subscribing)}

    def of(self, subscription: int) -> list[int]:
        """Where in the history this subscription's deliveries are."""
        return [
            at
            for at, event in enumerate(self.events)
            if isinstance(event, Delivered) and event.subscription == subscription
        ]

    def delivered(self, at: int) -> Delivered:
        event = self.events[at]
        assert isinstance(event, Delivered)
        return event

    def long_lived(self) -> int:
        """The subscription that has everything on subject `a`."""
        return next(number for number, event in self.subscribed.items() if event.subject == "a")

    def kept(self) -> list[int]:
        """Where that subscription got acknowledged messages which live for an hour, but for the last."""
        acknowledged = {event.op for event in self.events if isinstance(event, Acknowledged)}
        sure = {
            event.message
            for event in self.events
            if isinstance(event, Publishing) and event.expires == 3600 and event.op in acknowledged
        }
        return [at for at in self.of(self.long_lived())[:-1] if self.delivered(at).message in sure]

    def change(self, place: int, /, **fields: object) -> None:
        self.events[place] = self.events[place]._replace(**fields)  # type: ignore[arg-type]

    def acknowledgements(self) -> list[int]:
        """Where messages that live for an hour on subject `a` were acknowledged as new."""
        ops = {
            event.op
            for event in self.events
            if isinstance(event, Publishing) and event.subject == "a" and event.expires == 3600
        }
        return [
            at
            for at, event in enumerate(self.events)
            if isinstance(event, Acknowledged) and event.op in ops and event.duplicate is False
        ]


def lose_one(story: Story) -> None:
    del story.events[story.random.choice(story.kept())]


def lose_the_last(story: Story) -> None:
    del story.events[story.of(story.long_lived())[-1]]


def swap_two(story: Story) -> None:
    places = story.of(story.long_lived())
    first = story.random.randrange(len(places) - 1)
    one, other = places[first], places[first + 1]
    a, b = story.delivered(one), story.delivered(other)
    # Both after either was published, so that nothing but the order is wrong.
    story.events[one] = b._replace(at=b.at)
    story.events[other] = a._replace(at=b.at)


def deliver_twice(story: Story) -> None:
    at = story.random.choice(story.of(story.long_lived()))
    story.events.insert(at + 1, story.events[at])


def swap_bodies(story: Story) -> None:
    earlier, later = sorted(story.random.sample(story.kept(), 2))
    story.change(later, message=story.delivered(earlier).message)


def leave_an_id_out(story: Story) -> None:
    """As if the store had counted one too many: all ids from some point on are one higher."""
    unknown = {event.op for event in story.events if isinstance(event, Unknown)}
    story.events = [
        event for event in story.events if not (isinstance(event, Publishing | Unknown) and event.op in unknown)
    ]
    bound = story.delivered(story.random.choice(story.of(story.long_lived())[1:])).id
    ops = {event.op: event.subject for event in story.events if isinstance(event, Publishing)}
    # Those that start after an id would be asked with another.
    story.events = [
        event
        for event in story.events
        if not (isinstance(event, Subscribing | Standing | Delivered | Ended | Resumed) and not_earliest(story, event))
    ]
    for at, event in enumerate(story.events):
        on_a = (
            ops[event.op] == "a"
            if isinstance(event, Acknowledged)
            else isinstance(event, Delivered) and story.subscribed[event.subscription].subject == "a"
        )
        if isinstance(event, Acknowledged | Delivered) and on_a and event.id >= bound:
            story.change(at, id=event.id + 1)
    story.events = [event for event in story.events if not isinstance(event, Fetching | Fetched | NotFound)]


def not_earliest(story: Story, event: Subscribing | Standing | Delivered | Ended | Resumed) -> bool:
    return story.subscribed[event.subscription].start != "earliest"


def give_an_id_twice(story: Story) -> None:
    one, other = story.random.sample(story.acknowledgements(), 2)
    first = story.events[one]
    assert isinstance(first, Acknowledged)
    story.change(other, id=first.id)


def publish_a_key_twice(story: Story) -> None:
    """A second attempt with the same key becomes a message of its own."""
    end = story.events.pop()
    head = max(story.delivered(at).id for at in story.of(story.long_lived()))
    first = story.events[story.random.choice(story.acknowledgements())]
    assert isinstance(first, Acknowledged)
    asked = next(event for event in story.events if isinstance(event, Publishing) and event.op == first.op)
    op = 1_000_000
    story.events.append(asked._replace(at=end.at, op=op, key="k"))
    story.events.append(Acknowledged(end.at, op, head + 1, False))
    story.events.append(end)


def deliver_a_key_twice(story: Story) -> None:
    end = story.events.pop()
    last = story.delivered(story.of(story.long_lived())[-1])
    again = story.delivered(story.random.choice(story.kept()))
    story.events.append(Delivered(end.at, story.long_lived(), last.id + 1, again.message))
    story.events.append(end)


def deliver_from_before_the_start(story: Story) -> None:
    end = story.events.pop()
    got = story.delivered(story.random.choice(story.of(story.long_lived())))
    story.events.append(Subscribing(end.at, 1_000_000, "a", "latest", "new"))
    story.events.append(Standing(end.at, 1_000_000, None))
    story.events.append(Delivered(end.at, 1_000_000, got.id, got.message))
    story.events.append(Ended(end.at, 1_000_000, True, "enough"))
    story.events.append(end)


def deliver_what_nobody_published(story: Story) -> None:
    story.change(story.random.choice(story.kept()), message=NOT_OURS)


def deliver_what_was_refused(story: Story) -> None:
    got = story.delivered(story.random.choice(story.kept()))
    story.events = [
        Refused(event.at, event.op, "STORE_UNAVAILABLE") if is_answer_to(event, story, got.message) else event
        for event in story.events
    ]


def is_answer_to(event: Event, story: Story, message: int) -> TypeGuard[Acknowledged | Unknown]:
    ops = {one.op for one in story.events if isinstance(one, Publishing) and one.message == message}
    return isinstance(event, Acknowledged | Unknown) and event.op in ops


def replay_after_expiry(story: Story) -> None:
    """Someone connects long after, and gets what lived for an hour."""
    end = story.events.pop()
    got = story.delivered(story.random.choice(story.kept()))
    at = end.at + 4000
    story.events.append(Subscribing(at, 1_000_000, "a", "earliest", "late"))
    story.events.append(Standing(at, 1_000_000, None))
    story.events.append(Delivered(at, 1_000_000, got.id, got.message))
    story.events.append(Ended(at, 1_000_000, True, "enough"))
    story.events.append(Settled(at))


def fetch_after_expiry(story: Story) -> None:
    got = story.delivered(story.random.choice(story.kept()))
    at = story.events[-1].at + 4000
    story.events[-1:] = [Fetching(at, 1_000_000, "a", got.id), Fetched(at, 1_000_000, got.message)]


def fetch_nothing(story: Story) -> None:
    got = story.delivered(story.random.choice(story.kept()))
    at = story.events[-1].at
    story.events[-1:] = [Fetching(at, 1_000_000, "a", got.id), NotFound(at, 1_000_000), Settled(at)]


def reverse_commits(story: Story) -> None:
    """A message gets an id below that of one which was acknowledged before it was published."""
    one, other = (story.delivered(at).message for at in sorted(story.random.sample(story.kept(), 2)))
    ids = {event.message: event.id for event in story.events if isinstance(event, Delivered)}
    for at, event in enumerate(story.events):
        if isinstance(event, Delivered) and event.message in (one, other):
            story.change(at, message=other if event.message == one else one, at=story.events[-1].at)
        elif isinstance(event, Acknowledged) and event.id in (ids[one], ids[other]) and on_subject_a(story, event):
            story.change(at, id=ids[other] if event.id == ids[one] else ids[one])
    story.events = [event for event in story.events if not isinstance(event, Fetching | Fetched | NotFound)]


def on_subject_a(story: Story, event: Acknowledged) -> bool:
    return next(one.subject for one in story.events if isinstance(one, Publishing) and one.op == event.op) == "a"


def break_a_subscription(story: Story) -> None:
    at = story.of(story.long_lived())[-1]
    story.events.insert(at + 1, Ended(story.events[at].at, story.long_lived(), False, "INTERNAL"))


def never_stand(story: Story) -> None:
    story.events.insert(-1, Subscribing(story.events[-1].at, 1_000_000, "a", "latest", "stuck"))


DONE: dict[Callable[[Story], None], Kind] = {
    lose_one: Kind.LOST,
    lose_the_last: Kind.LOST,
    swap_two: Kind.DISORDERED,
    deliver_twice: Kind.REPEATED,
    swap_bodies: Kind.ID_REUSED,
    leave_an_id_out: Kind.ID_HOLE,
    give_an_id_twice: Kind.ID_REUSED,
    publish_a_key_twice: Kind.DOUBLED,
    deliver_a_key_twice: Kind.DOUBLED,
    deliver_from_before_the_start: Kind.EARLY,
    deliver_what_nobody_published: Kind.FOREIGN,
    deliver_what_was_refused: Kind.RISEN,
    replay_after_expiry: Kind.UNDEAD,
    fetch_after_expiry: Kind.UNDEAD,
    fetch_nothing: Kind.VANISHED,
    reverse_commits: Kind.COMMIT_ORDER,
    break_a_subscription: Kind.BROKEN_OFF,
    never_stand: Kind.BROKEN_OFF,
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("damage", DONE, ids=lambda damage: damage.__name__)
def test_what_is_done_to_a_history_is_found(damage: Callable[[Story], None], seed: int) -> None:
    story = Story(seed)
    damage(story)
    verdict = check(story.events)
    assert DONE[damage] in verdict.found, f"found {dict(verdict.found)}"
    shown = next(violation for violation in verdict.violations if violation.kind == DONE[damage])
    assert shown.evidence


def test_only_the_lost_message_is_reported() -> None:
    story = Story(1)
    place = story.random.choice(story.kept())
    lost = story.delivered(place)
    del story.events[place]
    verdict = check(story.events)
    assert dict(verdict.found) == {Kind.LOST: 1}
    assert f"id {lost.id} was not delivered" in str(verdict.violations[0])


def test_an_ordered_publisher_is_held_to_its_order() -> None:
    """Two calls at once: the second got the lower id."""
    story: list[Event] = [
        *Model(0).events[:2],
        Publishing(1.0, 1, 1, "p", "a", 3600, ""),
        Publishing(1.1, 2, 2, "p", "a", 3600, ""),
        Acknowledged(1.2, 2, 1, False),
        Acknowledged(1.3, 1, 2, False),
    ]
    assert dict(check(story).found) == {Kind.PUBLISHER_ORDER: 1}


def test_a_position_that_skips_a_message_is_a_loss() -> None:
    story: list[Event] = [
        Subscribing(1.0, 1, "a", "latest", ""),
        Standing(1.1, 1, 1),
        Publishing(1.2, 2, 2, "p", "a", 3600, ""),
        Acknowledged(1.3, 2, 1, False),
        Settled(9.0),
    ]
    assert dict(check(story).found) == {Kind.LOST: 1}


def test_a_history_that_was_broken_off_is_checked_as_far_as_it_goes() -> None:
    events = Model(3).run(STEPS)
    for length in range(0, len(events), 7):
        verdict: Verdict = check(events[:length])
        assert not verdict.violations, verdict.violations[0]


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    events = Model(5).run(STEPS)
    path = tmp_path / "history.jsonl"
    path.write_text("".join(f"{line(event)}\n" for event in events))
    assert list(read(path)) == events


@pytest.mark.parametrize("text", ["", "{}", "[]", '["Nothing",1]', '["Settled"]', "no JSON"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        parse(text)
