"""Any interleaving of calls, expiries and restarts, against a model that keeps everything in plain lists."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from broker.store import NEVER_STORED, NewMessage, Store, StoredMessage
from tests.support.stores import MAKERS, Make, StoreCase

SUBJECTS = st.sampled_from(["a", "b", "ä/b"])
LIVES = st.sampled_from([0, 1, 5, 20, 1000])
"""Milliseconds until a message expires; 0 is fire-and-forget."""
BATCHES = st.dictionaries(
    SUBJECTS, st.lists(st.tuples(st.binary(max_size=20), LIVES), min_size=1, max_size=8), min_size=1
)
IDS = st.integers(min_value=0, max_value=60)


class Interleavings(RuleBasedStateMachine):
    def __init__(self, make: Make) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.case = StoreCase(make, Path(self.directory.name))
        self.runner.run(self.case.open())
        self.heads: dict[str, int] = {}
        self.kept: dict[str, list[StoredMessage]] = {}
        self.deleted = 0

    @property
    def store(self) -> Store:
        return self.case.store

    def readable(self, subject: str, after_id: int = 0) -> list[StoredMessage]:
        now = self.case.clock.now
        kept = self.kept.get(subject, [])
        return [message for message in kept if message.id > after_id and message.expires_at > now]

    @rule(batch=BATCHES)
    def append(self, batch: dict[str, list[tuple[bytes, int]]]) -> None:
        now = self.case.clock.now
        new = {
            subject: [NewMessage(body, now + life if life else NEVER_STORED) for body, life in messages]
            for subject, messages in batch.items()
        }
        assert self.runner.run(self.store.append(new, now)) == {name: self.heads.get(name, 0) for name in new}
        for subject, messages in new.items():
            first = self.heads.get(subject, 0) + 1
            self.heads[subject] = first + len(messages) - 1
            self.kept.setdefault(subject, []).extend(
                StoredMessage(message_id, body, now, expires_at)
                for message_id, (body, expires_at) in enumerate(messages, first)
                if expires_at
            )

    @rule(subject=SUBJECTS, after_id=IDS, limit=st.integers(1, 10), max_bytes=st.integers(1, 60))
    def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> None:
        page = self.runner.run(self.store.read(subject, after_id, limit, max_bytes))
        readable = self.readable(subject, after_id)
        fitting = [
            message
            for count, message in enumerate(readable)
            if count == 0 or (count < limit and sum(len(each.body) for each in readable[: count + 1]) <= max_bytes)
        ]
        assert page == (fitting, self.heads.get(subject, 0), len(fitting) == len(readable))

    @rule(keys=st.lists(st.tuples(SUBJECTS, IDS), max_size=5))
    def get(self, keys: list[tuple[str, int]]) -> None:
        expected = [
            next((message for message in self.readable(subject) if message.id == message_id), None)
            for subject, message_id in keys
        ]
        assert self.runner.run(self.store.get(keys)) == expected

    @rule(subjects=st.lists(SUBJECTS, unique=True))
    def ask_heads(self, subjects: list[str]) -> None:
        assert self.runner.run(self.store.heads(subjects)) == {name: self.heads.get(name, 0) for name in subjects}

    @rule(subject=SUBJECTS, ago=st.integers(-2, 60))
    def before(self, subject: str, ago: int) -> None:
        time = self.case.clock.now - ago
        first = next((message.id for message in self.readable(subject) if message.published_at >= time), None)
        expected = self.heads.get(subject, 0) if first is None else first - 1
        assert self.runner.run(self.store.before(subject, time)) == expected

    @rule(milliseconds=st.sampled_from([1, 3, 15, 900]))
    def advance(self, milliseconds: int) -> None:
        self.case.clock.advance(milliseconds)

    @rule(limit=st.integers(1, 12))
    def expire(self, limit: int) -> None:
        kept = sum(len(messages) for messages in self.kept.values())
        due = kept - sum(len(self.readable(subject)) for subject in self.kept) - self.deleted
        count = self.runner.run(self.store.expire(limit))
        assert count == min(limit, due)
        self.deleted += count

    @precondition(lambda self: self.store.durable)
    @rule()
    def restart(self) -> None:
        self.runner.run(self.case.reopen())

    def teardown(self) -> None:
        for subject in self.heads:
            self.read(subject, 0, 10**6, 10**9)
        self.runner.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_any_interleaving_keeps_the_promises(kind: str) -> None:
    run_state_machine_as_test(
        partial(Interleavings, MAKERS[kind]),  # type: ignore[arg-type]  # it calls what it is given
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
