"""Keys within one commit, and how duplicates are told."""

import asyncio
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from broker.engine.commits import Commit
from broker.engine.committer import Committer
from broker.engine.publication import Duplicate, Outcome, Publication
from broker.engine.rules import Limits
from broker.errors import StoreFull
from broker.store import NEVER_STORED, NewMessage
from broker.store.memory import MemoryStore
from broker.telemetry.metrics import Metrics
from tests.support.stores import FakeClock

EVER = 10**15
LIMITS = Limits(deduplication_window=10)


class Bench:
    """A committer on a memory store, and what it handed on."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(1 << 30, self.clock)
        self.metrics = Metrics()
        self.commits: list[Commit] = []
        self.committer = Committer(self.store, LIMITS, self.metrics, self.clock, self.commits.extend)

    async def commit(self, *publications: list[tuple[str, NewMessage]]) -> list[list[Outcome]]:
        """Commit publications together and return their outcomes."""
        outcomes: list[list[Outcome]] = []
        await self.committer.commit([Publication.of(messages, outcomes.append) for messages in publications])
        return outcomes

    def metric(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


def named(key: bytes, body: bytes = b"", expires_at: int = EVER) -> NewMessage:
    return NewMessage(body, expires_at, key=key)


def told(outcomes: list[Outcome]) -> list[tuple[int, bool] | str]:
    """Ids and whether they are duplicates, or reasons."""
    return [(one, type(one) is Duplicate) if isinstance(one, int) else one.reason for one in outcomes]


async def test_the_second_of_two_in_one_commit_takes_the_first_ones_outcome():
    bench = Bench()
    one, other = [("a", named(b"k", b"1")), ("a", named(b"", b"2")), ("b", named(b"k", b"3")), ("a", named(b"k"))], []
    other += [("a", named(b"k")), ("a", named(b"l", b"4"))]
    first, second = await bench.commit(one, other)
    assert told(first) == [(1, False), (2, False), (1, False), (1, True)]
    assert told(second) == [(1, True), (3, False)]
    assert [(commit.subject, commit.first_id, len(commit)) for commit in bench.commits] == [("a", 1, 3), ("b", 1, 1)]
    assert bench.metric("broker_messages_duplicate_total") == 2
    assert bench.metric("broker_flush_messages_sum") == 4
    assert [message.body for message in (await bench.store.read("a", 0, 10, 10**6)).messages] == [b"1", b"2", b"4"]


async def test_the_second_of_two_in_one_commit_takes_the_first_ones_error():
    bench = Bench()

    async def full(*_: object) -> None:
        raise StoreFull("no room")

    bench.store.append = full  # type: ignore[method-assign,assignment]
    assert [told(outcomes) for outcomes in await bench.commit([("a", named(b"k"))] * 2)] == [["STORE_FULL"] * 2]
    assert bench.metric("broker_messages_refused_total") == 0
    assert bench.metrics.registry.get_sample_value("broker_messages_refused_total", {"reason": "STORE_FULL"}) == 2


async def test_a_commit_of_nothing_but_duplicates_is_not_handed_on():
    bench = Bench()
    await bench.commit([("a", named(b"k"))])
    bench.commits.clear()
    assert [told(outcomes) for outcomes in await bench.commit([("a", named(b"k"))])] == [[(1, True)]]
    assert bench.commits == []
    bench.clock.advance(10_000)
    assert [told(outcomes) for outcomes in await bench.commit([("a", named(b"k"))])] == [[(2, False)]]


MESSAGES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([b"", b"", b"k", b"l", b"m"])), min_size=1)


@given(st.lists(st.lists(MESSAGES, min_size=1, max_size=3), max_size=6))
def test_any_commits_take_each_key_once_and_keep_ids_dense(rounds):
    async def run() -> None:
        bench = Bench()
        ids: dict[tuple[str, bytes], int] = {}
        last: defaultdict[str, int] = defaultdict(int)
        duplicates = 0
        for publications in rounds:
            expected = []
            for messages in publications:
                expected.append([])
                for subject, key in messages:
                    known = ids.get((subject, key)) if key else None
                    if known is None:
                        last[subject] += 1
                        ids[subject, key] = last[subject]
                    duplicates += known is not None
                    expected[-1].append((known or last[subject], known is not None))
            outcomes = await bench.commit(
                *[[(subject, named(key, expires_at=NEVER_STORED)) for subject, key in each] for each in publications]
            )
            assert [told(each) for each in outcomes] == expected
        handed_on: defaultdict[str, int] = defaultdict(int)
        for commit in bench.commits:
            assert commit.first_id == handed_on[commit.subject] + 1
            handed_on[commit.subject] = commit.last_id
        assert handed_on == last
        assert bench.metric("broker_messages_duplicate_total") == duplicates

    asyncio.run(run())
