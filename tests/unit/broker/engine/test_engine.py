"""The engine on a real memory store, behind an outlet whose readers the tests control."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.engine.fetcher import Lookup
from broker.engine.rules import Limits
from broker.engine.subscription import EARLIEST, LATEST, Start
from broker.errors import InvalidRequest, LimitReached, Refused, StoreFull, StoreUnavailable, Unavailable
from broker.store.contract import NewMessage
from broker.store.memory import MemoryStore
from tests.support import virtual_time
from tests.support.engines import Bench, Threaded, one_each, with_position
from tests.support.stores import FakeClock


async def test_what_waits_together_is_committed_together_in_order():
    async with Bench(store=Threaded(1 << 30, FakeClock())) as bench:
        at_once = bench.publish("a", 60)
        await bench.settle()
        assert bench.metric("broker_flush_messages_count") == 1
        busy = bench.publish("a", 60)
        await asyncio.sleep(0)
        waiting = [bench.publish("a", 60, 60), bench.publish("a", 60), bench.publish("b", 60)]
        assert [await at_once, await busy, *[await one for one in waiting]] == [[1], [2], [3, 4], [5], [1]]
        assert bench.metric("broker_flush_messages_count") == 3


async def test_the_queue_is_bounded_by_messages_and_bytes():
    async with Bench(limits=Limits(max_queue_messages=3), store=Threaded(1 << 30, FakeClock())) as bench:
        first = bench.publish("a", 60, 60)
        with pytest.raises(LimitReached, match="more than 3 messages"):
            bench.publish("a", 60, 60)
        assert await first == [1, 2]
        await bench.settle()
        assert await bench.publish("a", 60, 60, 60) == [3, 4, 5]
        # What is beyond the limit alone is taken when nothing else waits.
        await bench.settle()
        assert await bench.publish("a", 60, 60, 60, 60) == [6, 7, 8, 9]
    async with Bench(limits=Limits(max_queue_bytes=1), store=Threaded(1 << 30, FakeClock())) as bench:
        first = bench.publish("a", 60, 60)
        with pytest.raises(LimitReached, match="more than 1 bytes"):
            bench.publish("a", 60, 60)
        assert await first == [1, 2]


async def test_a_live_subscriber_gets_what_comes_after_it():
    async with Bench() as bench:
        await bench.publish("a", 60)
        bench.engine.subscribe(1, "a", LATEST, one_each)
        await bench.settle()
        assert bench.readers.opened == [1]
        await bench.publish("a", 60, 0, 60)
        assert bench.readers.ids(1) == [2, 3, 4]


async def test_a_subscriber_from_now_on_is_told_its_position_where_its_frames_can():
    for cache_bytes in (0, 1 << 20):
        async with Bench(limits=Limits(cache_bytes=cache_bytes)) as bench:
            await bench.publish("a", 60, 0)
            for token, (subject, framing) in enumerate([("a", with_position), ("a", one_each), ("b", with_position)]):
                bench.engine.subscribe(token, subject, LATEST, framing)
            await bench.settle()
            assert bench.readers.queued == {0: [b"2:position"], 2: [b"0:position"]}


async def test_starts_in_the_past():
    async with Bench() as bench:
        await bench.publish("a", 60, 0, 60)
        bench.clock.advance(1000)
        await bench.publish("a", 60)
        bench.engine.subscribe(1, "a", EARLIEST, one_each)
        bench.engine.subscribe(2, "a", Start("after", 1), one_each)
        bench.engine.subscribe(3, "a", Start("since", bench.clock()), one_each)
        bench.engine.subscribe(4, "a", Start("after", 4), one_each)
        bench.engine.subscribe(5, "a", Start("after", 5), one_each)
        await bench.settle()
        await bench.publish("a", 60)
        assert [bench.readers.ids(token) for token in (1, 2, 3, 4)] == [[1, 3, 4, 5], [3, 4, 5], [4, 5], [5]]
        assert bench.readers.ended[5].reason == "START_BEYOND_END"
        assert sorted(bench.readers.opened) == [1, 2, 3, 4]


async def test_subscriptions_are_bounded():
    async with Bench(limits=Limits(max_subscriptions=1)) as bench:
        bench.engine.subscribe(1, "a", LATEST, one_each)
        with pytest.raises(LimitReached, match="1 subscriptions"):
            bench.engine.subscribe(2, "a", LATEST, one_each)
        bench.engine.unsubscribe(1)
        bench.engine.subscribe(3, "a", LATEST, one_each)


async def test_fetch_from_memory_and_from_the_store():
    for cache_bytes in (0, 1 << 20):
        async with Bench(limits=Limits(cache_bytes=cache_bytes)) as bench:
            await bench.publish("a", 60, 0, 5)
            bench.clock.advance(5000)
            bench.engine.fetch([Lookup(n, "a", n) for n in (1, 2, 3, 4)])
            await bench.settle()
            assert bench.found[1] == b"1:x"
            for token in (2, 3, 4):
                assert isinstance(bench.found[token], InvalidRequest)
                assert bench.found[token].reason == "MESSAGE_NOT_FOUND"


async def test_fetches_that_arrive_together_are_one_query():
    class Counting(MemoryStore):
        queries = 0

        async def get(self, keys):
            self.queries += 1
            return await super().get(keys)

    async with Bench(limits=Limits(cache_bytes=0), store=Counting(1 << 30)) as bench:
        await bench.publish("a", *[60_000_000_000] * 50)
        for message_id in range(1, 51):
            bench.engine.fetch([Lookup(message_id, "a", message_id)])
        await bench.settle()
        assert len(bench.found) == 50
        assert bench.store.queries == 1


async def test_what_was_fetched_from_the_store_is_fetched_from_memory_until_it_expires():
    class Counting(MemoryStore):
        queries = 0

        async def get(self, keys):
            self.queries += 1
            return await super().get(keys)

    clock = FakeClock()
    store = Counting(1 << 30, clock)
    await store.append({"a": [NewMessage(b"x", clock() + 60_000)]}, clock(), 0)
    async with Bench(store=store) as bench:
        bench.clock.now = clock()
        for token in range(3):
            bench.engine.fetch([Lookup(token, "a", 1)])
            await bench.settle()
            assert bench.found[token] == b"1:x"
        assert store.queries == 1
        clock.advance(60_000)
        bench.clock.advance(60_000)
        bench.engine.fetch([Lookup(9, "a", 1)])
        await bench.settle()
        assert bench.found[9].reason == "MESSAGE_NOT_FOUND"


async def test_a_read_that_fails_unexpectedly_ends_its_subscription():
    class Broken(MemoryStore):
        async def read(self, *_):
            raise ZeroDivisionError

    async with Bench(store=Broken(1 << 30), limits=Limits(cache_bytes=0)) as bench:
        await bench.publish("a", 60)
        bench.engine.subscribe(1, "a", EARLIEST, one_each)
        await bench.settle()
        assert bench.readers.ended[1].reason == "UNEXPECTED"
        assert bench.metric("broker_subscriptions") == 0


async def test_a_store_that_refuses_and_recovers():
    class Moody(MemoryStore):
        mood: Refused | Exception | None = None

        async def append(self, batch, published_at, keys_until):
            if self.mood is not None:
                raise self.mood
            return await super().append(batch, published_at, keys_until)

    async with Bench(store=Moody(1 << 30)) as bench:
        bench.engine.subscribe(1, "a", LATEST, one_each)
        await bench.settle()
        for mood, reason in (
            (StoreFull("no room"), "STORE_FULL"),
            (StoreUnavailable("away"), "STORE_UNAVAILABLE"),
            (ZeroDivisionError(), "OUTCOME_UNKNOWN"),
        ):
            bench.store.mood = mood
            [outcome] = await bench.publish("a", 60)
            assert outcome.reason == reason
        bench.store.mood = None
        assert await bench.publish("a", 60) == [1]
        assert bench.readers.ids(1) == [1]


def test_a_commit_of_which_the_store_could_not_tell_is_delivered_all_the_same():
    class Doubtful(MemoryStore):
        doubt = False

        async def append(self, *arguments):
            appended = await super().append(*arguments)
            if self.doubt:
                raise Unavailable("OUTCOME_UNKNOWN", "lost before it answered")
            return appended

    async def run() -> None:
        async with Bench(store=Doubtful(1 << 30, FakeClock())) as bench:
            bench.engine.subscribe(1, "a", LATEST, one_each)
            await bench.settle()
            assert await bench.publish("a", 60) == [1]
            bench.store.doubt = True
            [outcome] = await bench.publish("a", 60)
            assert outcome.reason == "OUTCOME_UNKNOWN"
            await asyncio.sleep(5)
            assert bench.readers.ids(1) == [1, 2]
            await bench.publish("a", 60)
            bench.store.doubt = False
            assert await bench.publish("a", 60) == [4]
            await asyncio.sleep(5)
            assert bench.readers.ids(1) == [1, 2, 3, 4]

    virtual_time.run(run())


async def test_a_failure_of_the_engine_itself_is_told():
    async with Bench() as bench:
        bench.readers.send = None  # what can never be
        bench.engine.subscribe(1, "a", LATEST, one_each)
        await bench.settle()
        bench.publish("a", 60)
        with pytest.raises(TypeError):
            await bench.engine.failure()


async def test_messages_missed_are_counted():
    async with Bench(room=1, limits=Limits(cache_bytes=0)) as bench:
        bench.engine.subscribe(1, "a", LATEST, one_each)
        await bench.settle()
        await bench.publish("a", 60)
        await bench.publish("a", 0)
        await bench.publish("a", 0, 60)
        assert bench.metric("broker_subscription_overflows_total") == 1
        while bench.readers.read(1):
            bench.engine.writable(1)
            await bench.settle()
        assert bench.readers.ids(1) == [1, 4]
        assert bench.metric("broker_messages_missed_total") == 2


class Scenario:
    """Steps on a bench, and what each subscriber must have got at the end."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.expirations: list[int] = []  # of each published message, in the order of the ids
        self.due_after: dict[int, tuple[int, int]] = {}  # by subscriber: after which id, and the last id as it began
        self.left: set[int] = set()

    async def publish(self, expirations: list[int]) -> None:
        self.bench.publish("a", *expirations)
        self.expirations += expirations

    async def subscribe(self, kind: str) -> None:
        await self.bench.settle()  # what is published is committed now: it is known what is due
        token, last_id = len(self.due_after) + 1, len(self.expirations)
        after = {"latest": last_id, "earliest": 0, "after": last_id // 2}[kind]
        start = {"latest": LATEST, "earliest": EARLIEST, "after": Start("after", after)}[kind]
        self.bench.engine.subscribe(token, "a", start, one_each)
        while token not in self.bench.readers.opened:
            await asyncio.sleep(0)
        self.due_after[token] = after, last_id

    async def read(self, token: int) -> bool:
        if not self.bench.readers.read(token):
            return False
        self.bench.engine.writable(token)
        return True

    async def leave(self, token: int) -> None:
        self.bench.engine.unsubscribe(token)
        self.left.add(token)

    async def turn(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def read_to_the_end(self) -> None:
        await self.bench.settle()
        for token in self.due_after.keys() - self.left:
            while await self.read(token):
                await self.bench.settle()

    def check(self) -> None:
        for token, (after, stood) in self.due_after.items():
            ids = self.bench.readers.ids(token)
            assert ids == sorted(set(ids)), "out of order or doubled"
            due = {n for n, kept in enumerate(self.expirations, 1) if n > after and (kept or n > stood)}
            assert set(ids) <= due
            if token not in self.left:
                assert {n for n in due if self.expirations[n - 1]} <= set(ids), "a stored message was lost"


STEPS = st.one_of(
    st.tuples(st.just("publish"), st.lists(st.sampled_from([0, 60]), min_size=1, max_size=6)),
    st.tuples(st.just("subscribe"), st.sampled_from(["latest", "earliest", "after"])),
    st.tuples(st.just("read"), st.integers(0, 5)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("turn"), st.integers(1, 4)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40), st.sampled_from([1, 3, 100]), st.sampled_from([0, 4000, 1 << 20]), st.booleans())
def test_any_interleaving_gives_each_subscriber_its_messages_in_order_each_once(steps, room, cache_bytes, threaded):
    async def run() -> None:
        store = Threaded(1 << 30, FakeClock()) if threaded else None
        async with Bench(room, Limits(cache_bytes=cache_bytes), store) as bench:
            scenario = Scenario(bench)
            for step, value in steps:
                await getattr(scenario, step)(value)
            await scenario.read_to_the_end()
            scenario.check()

    asyncio.run(run())
