"""Any interleaving of calls, expiries and restarts, against a model that keeps everything in plain lists."""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from broker.store import NEVER_STORED, Appended, NewMessage, Store, StoredMessage
from tests.support.stores import MAKERS, Make, StoreCase

SUBJECTS = st.sampled_from(["a", "b", "ä/b"])
LIVES = st.sampled_from([0, 1, 5, 20, 1000])
"""Milliseconds until a message expires; 0 is fire-and-forget."""
HEADERS = st.one_of(st.just(b""), st.binary(max_size=10))
KEYS = st.sampled_from([b"", b"", b"", b"k", b"\0", b"k\0", b"\xff" * 255])
MESSAGES = st.lists(st.tuples(st.binary(max_size=20), LIVES, HEADERS, KEYS), min_size=1, max_size=8)
BATCHES = st.dictionaries(SUBJECTS, MESSAGES.filter(lambda messages: no_key_is_there_twice(messages)), min_size=1)
IDS = st.integers(min_value=0, max_value=60)


Content = tuple[bytes, int, bytes, bytes]


def no_key_is_there_twice(messages: list[Content]) -> bool:
    keys = [key for *_, key in messages if key]
    return len(set(keys)) == len(keys)


def size(message: StoredMessage) -> int:
    return len(message.body) + len(message.headers)


class Interleavings(RuleBasedStateMachine):
    def __init__(self, make: Make) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.case = StoreCase(make, Path(self.directory.name))
        self.runner.run(self.case.open())
        self.heads: dict[str, int] = {}
        self.kept: dict[str, list[StoredMessage]] = {}
        self.keys: dict[tuple[str, bytes], tuple[int, int]] = {}
        """For each key the id of its message, and until when it counts."""
        self.deleted = 0

    @property
    def store(self) -> Store:
        return self.case.store

    def readable(self, subject: str, after_id: int = 0) -> list[StoredMessage]:
        now = self.case.clock.now
        kept = self.kept.get(subject, [])
        return [message for message in kept if message.id > after_id and message.expires_at > now]

    @rule(batch=BATCHES, window=st.sampled_from([1, 4, 20, 1000]))
    def append(self, batch: dict[str, list[Content]], window: int) -> None:
        now = self.case.clock.now
        new = {
            subject: [
                NewMessage(body, now + life if life else NEVER_STORED, headers, key)
                for body, life, headers, key in messages
            ]
            for subject, messages in batch.items()
        }
        expected = {subject: self.expected(subject, messages, now + window) for subject, messages in new.items()}
        assert self.runner.run(self.store.append(new, now, now + window)) == expected

    def expected(self, subject: str, messages: list[NewMessage], keys_until: int) -> Appended:
        """Append to the model."""
        now = self.case.clock.now
        before = message_id = self.heads.get(subject, 0)
        duplicates: dict[int, int] = {}
        for place, (body, expires_at, headers, key) in enumerate(messages):
            known_id, until = self.keys.get((subject, key), (0, 0))
            if until > now:
                duplicates[place] = known_id
                continue
            message_id += 1
            if key:
                self.keys[subject, key] = (message_id, keys_until)
            if expires_at:
                stored = StoredMessage(message_id, body, now, expires_at, headers)
                self.kept.setdefault(subject, []).append(stored)
        self.heads[subject] = message_id
        return Appended(before, duplicates)

    @rule(subject=SUBJECTS, after_id=IDS, limit=st.integers(1, 10), max_bytes=st.integers(1, 60))
    def read(self, subject: str, after_id: int, limit: int, max_bytes: int) -> None:
        page = self.runner.run(self.store.read(subject, after_id, limit, max_bytes))
        readable = self.readable(subject, after_id)
        fitting = [
            message
            for count, message in enumerate(readable)
            if count == 0 or (count < limit and sum(map(size, readable[: count + 1])) <= max_bytes)
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
