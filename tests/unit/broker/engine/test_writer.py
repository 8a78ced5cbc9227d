"""The writer on a store that takes several appends at a time: order is kept, and outcomes find their places."""

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import broker.engine.writer as writer_module
from broker.engine.commits import Commit
from broker.engine.publication import Outcome, Publication
from broker.engine.rules import Limits
from broker.engine.writer import Writer
from broker.errors import LimitReached, StoreFull
from broker.store import NewMessage
from broker.store.memory import MemoryStore
from broker.telemetry.metrics import Metrics
from tests.support.stores import FakeClock

EVER = 10**15
SUBJECTS = [f"subject-{number}" for number in range(12)]


class SlowStore(MemoryStore):
    """Takes several appends at a time, lets each take as many turns of the loop as the test says, and watches them."""

    def __init__(self, writers: int, turns: list[int]) -> None:
        super().__init__(1 << 30)
        self.writers = writers
        self.turns = turns
        self.busy: set[str] = set()
        self.at_a_time = self.most_at_a_time = 0
        self.full = False

    async def append(self, batch, published_at, keys_until):
        assert self.busy.isdisjoint(batch), "two appends to one subject at a time"
        self.busy |= batch.keys()
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        for _ in range(self.turns.pop() if self.turns else 1):
            await asyncio.sleep(0)
        self.at_a_time -= 1
        self.busy -= batch.keys()
        if self.full:
            raise StoreFull("no room")
        return await super().append(batch, published_at, keys_until)


class Running:
    """A writer on a slow store, with what they delivered."""

    def __init__(self, store: SlowStore, limits: Limits | None = None) -> None:
        self.store = store
        self.delivered: defaultdict[str, list[bytes]] = defaultdict(list)
        self.metrics = Metrics()
        self.writer = Writer(store, limits or Limits(), self.metrics, FakeClock(), self._committed)

    def _committed(self, commits: list[Commit]) -> None:
        for commit in commits:
            bodies = self.delivered[commit.subject]
            assert commit.first_id == len(bodies) + 1
            bodies += [message.body for message in commit.messages]

    async def __aenter__(self):
        self.task = asyncio.create_task(self.writer.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def publish(self, *messages: tuple[str, bytes]) -> asyncio.Future[list[Outcome]]:
        future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        named = [(name, NewMessage(body, EVER)) for name, body in messages]
        self.writer.submit(Publication.of(named, lambda outcomes: future.set_result(list(outcomes))))
        return future


def shard_of(name: str, shards: int) -> int:
    return hash(name) % shards


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=8), max_size=30),
    st.integers(1, 4),
    st.lists(st.integers(0, 6), max_size=30),
    st.sampled_from([1, 4, 1000]),
    st.sampled_from([1, 6, 1000]),
)
def test_subjects_keep_their_order_and_outcomes_their_places(publications, writers, turns, worth, most):
    async def run() -> None:
        async with Running(SlowStore(writers, turns)) as running:
            published: defaultdict[str, list[bytes]] = defaultdict(list)
            expected, futures = [], []
            for number, names in enumerate(publications):
                messages = [(name, b"%d.%d" % (number, place)) for place, name in enumerate(names)]
                futures.append(running.publish(*messages))
                ids = []
                for name, body in messages:
                    published[name].append(body)
                    ids.append(len(published[name]))
                expected.append(ids)
                if number % 3 == 0:
                    await asyncio.sleep(0)
            await running.writer.drained()
            assert [future.result() for future in futures] == expected
            assert running.delivered == published
            assert running.store.most_at_a_time <= writers
            assert running.metrics.registry.get_sample_value("broker_queue_messages") == 0
            assert running.metrics.registry.get_sample_value("broker_queue_bytes") == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer_module, "WORTH_A_COMMIT", worth)
        patch.setattr(writer_module, "MAX_FLUSH_MESSAGES", most)
        asyncio.run(run())


async def test_what_is_held_back_is_one_commit(monkeypatch):
    async with Running(SlowStore(1, [])) as running:
        running.writer.hold()
        held = [running.publish(("a", b"%d" % number)) for number in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert running.delivered == {}
        running.writer.release()
        assert await asyncio.gather(*held) == [[1], [2], [3]]
        assert running.metrics.registry.get_sample_value("broker_flush_messages_count") == 1
        # As many as one commit takes wait for nothing more.
        monkeypatch.setattr(writer_module, "MAX_FLUSH_MESSAGES", 2)
        running.writer.hold()
        assert await running.publish(("a", b"4"), ("a", b"5")) == [4, 5]


async def test_much_is_appended_side_by_side(monkeypatch):
    monkeypatch.setattr(writer_module, "WORTH_A_COMMIT", 4)
    async with Running(SlowStore(3, [5] * 20)) as running:
        await running.publish(*[(name, b"x") for name in SUBJECTS])
        assert running.store.most_at_a_time == len({shard_of(name, 3) for name in SUBJECTS})


async def test_little_is_appended_together_and_waits_for_one_other_append_at_most():
    async with Running(SlowStore(3, [])) as running:
        by_shard = {shard_of(name, 3): name for name in [*SUBJECTS, *map(str, range(50))]}
        await running.publish(*[(name, b"x") for name in by_shard.values()])
        assert running.metrics.registry.get_sample_value("broker_flush_messages_count") == 1
        running.store.turns = [50]
        slow = running.publish((by_shard[0], b"slow"))
        while not running.store.at_a_time:
            await asyncio.sleep(0)
        others = [running.publish((by_shard[1], b"x")), running.publish((by_shard[2], b"x"))]
        await slow
        await asyncio.gather(*others)
        assert running.store.most_at_a_time == 1
        assert running.metrics.registry.get_sample_value("broker_flush_messages_count") == 3


async def test_what_is_passed_over_once_is_not_passed_over_again(monkeypatch):
    monkeypatch.setattr(writer_module, "WORTH_A_COMMIT", 10)
    async with Running(SlowStore(2, [])) as running:
        by_shard = {shard_of(name, 2): name for name in [*SUBJECTS, *map(str, range(50))]}
        running.store.turns = [200, 20, 60]  # taken from the end
        long = running.publish(*[(by_shard[0], b"x")] * 12)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        short = running.publish(*[(by_shard[1], b"x")] * 10)
        await asyncio.sleep(0)
        few = running.publish((by_shard[1], b"few"))
        await asyncio.wait([long, short], return_when=asyncio.FIRST_COMPLETED)
        assert not few.done()
        assert await few == [11]
        assert running.store.most_at_a_time == 2


async def test_one_commits_failure_is_told_for_its_messages_only(monkeypatch):
    monkeypatch.setattr(writer_module, "WORTH_A_COMMIT", 1)
    async with Running(SlowStore(2, [])) as running:
        by_writer = {hash(name) % 2: name for name in SUBJECTS + [f"more-{number}" for number in range(20)]}
        fine, refused = by_writer[0], by_writer[1]
        append = running.store.append

        async def moody(batch, published_at, keys_until):
            if refused in batch:
                raise StoreFull("no room")
            return await append(batch, published_at, keys_until)

        running.store.append = moody
        outcomes = await running.publish((refused, b"1"), (fine, b"2"), (refused, b"3"), (fine, b"4"))
        assert isinstance(outcomes[0], StoreFull)
        assert isinstance(outcomes[2], StoreFull)
        assert [outcomes[1], outcomes[3]] == [1, 2]


async def test_the_bound_is_one_for_all_shards():
    async with Running(SlowStore(4, []), Limits(max_queue_messages=12)) as running:
        first = running.publish(*[(name, b"x") for name in SUBJECTS])
        with pytest.raises(LimitReached, match="more than 12 messages"):
            running.publish(("other", b"x"))
        assert await first == [1] * 12
        await running.writer.drained()
        assert await running.publish(("other", b"x")) == [1]
