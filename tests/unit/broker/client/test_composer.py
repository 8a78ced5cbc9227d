"""The composer under any interleaving of publishing, answers, retries and cancellations."""

import asyncio
from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from broker.client.composer import Composer, Frame, Pending

FRAME_MESSAGES = 5
FRAME_BYTES = 100

SUBJECTS = st.sampled_from("abcd")


class Composing(RuleBasedStateMachine):
    waiting = Bundle("waiting")
    frames = Bundle("frames")
    resting = Bundle("resting")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.composer = Composer(FRAME_MESSAGES, FRAME_BYTES)
        self.handed_over: defaultdict[str, list[Pending]] = defaultdict(list)
        """What has no final answer, by subject, in order."""
        self.held: set[str] = set()
        self.in_flight: set[Pending] = set()

    def teardown(self) -> None:
        self.loop.close()

    @rule(target=waiting, subject=SUBJECTS, size=st.sampled_from([1, 30, 60, 101, 300]))
    def put(self, subject: str, size: int) -> Pending:
        message = Pending(subject, bytes(size), self.loop.create_future(), 0, 0)
        self.handed_over[subject].append(message)
        self.composer.put(message)
        return message

    @rule(target=frames, most=st.sampled_from([1, None]))
    def compose(self, most: int | None) -> object:
        frame = self.composer.compose(most)
        if frame is None:
            assert not self.free(), "something may leave"
            return multiple()
        assert 1 <= len(frame.messages) <= (most or FRAME_MESSAGES)
        assert len(frame.messages) == 1 or sum(len(message.part) for message in frame.messages) <= FRAME_BYTES
        assert frame.encode() == b"".join(message.part for message in frame.messages)
        assert sorted(frame.subjects) == sorted({message.subject for message in frame.messages})
        assert self.held.isdisjoint(frame.subjects), "one frame of a subject at a time"
        for subject in frame.subjects:
            taken = [message for message in frame.messages if message.subject == subject]
            assert taken == self.handed_over[subject][: len(taken)], "in order, and none passed over"
        self.held.update(frame.subjects)
        self.in_flight.update(frame.messages)
        return frame

    @rule(target=resting, frame=consumes(frames), again=st.sets(SUBJECTS), rest=st.booleans())
    def answer(self, frame: Frame, again: set[str], rest: bool) -> object:
        """Some subjects of a frame are to be sent again; the others are done."""
        for subject in frame.subjects:
            messages = [message for message in frame.messages if message.subject == subject]
            if subject in again:
                self.composer.put_back(subject, messages)
            else:
                del self.handed_over[subject][: len(messages)]
        self.in_flight -= set(frame.messages)
        free = [subject for subject in frame.subjects if not rest or subject not in again]
        self.release(free)
        return [subject for subject in frame.subjects if subject not in free]

    @rule(subjects=consumes(resting))
    def release(self, subjects: list[str]) -> None:
        self.composer.release(subjects)
        self.held.difference_update(subjects)

    @rule(message=waiting)
    def drop(self, message: Pending) -> None:
        if message in self.handed_over[message.subject] and message not in self.in_flight:
            self.composer.drop(message)
            self.handed_over[message.subject].remove(message)

    def free(self) -> list[Pending]:
        return [
            message
            for subject, messages in self.handed_over.items()
            for message in messages
            if subject not in self.held
        ]

    @invariant()
    def counts(self) -> None:
        assert self.composer.ready == len(self.free())
        assert self.composer.has_full_frame == (len(self.free()) >= FRAME_MESSAGES)
        everything = {message for messages in self.handed_over.values() for message in messages}
        assert set(self.composer) == everything - self.in_flight
        for subject, messages in self.handed_over.items():
            assert self.composer.waiting(subject) == [each for each in messages if each not in self.in_flight]


TestComposing = Composing.TestCase
TestComposing.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
