"""Several engines on one store, between which commits are lost, doubled, late and out of order."""

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.engine import gaps
from broker.engine.commits import Commit
from broker.engine.rules import Limits
from broker.engine.subscription import EARLIEST, LATEST, Start
from broker.store.contract import NEVER_STORED, NewMessage, Page
from tests.support import virtual_time
from tests.support.engines import Bench, Threaded, encode, one_each
from tests.support.stores import FakeClock

REPLICAS = 3


class Shared(Threaded):
    """A store that replicas share; its clock stands still."""

    shared = True
    identity = "shared"

    def __init__(self) -> None:
        super().__init__(1 << 30, FakeClock())

    async def close(self) -> None:
        """The others may still use it."""

    async def read(self, subject: str, after_id: int, max_messages: int, max_bytes: int) -> Page:
        page = await super().read(subject, after_id, max_messages, max_bytes)
        # The answer takes its time, in which more commits arrive.
        await asyncio.sleep(0.004)
        return page


class Post:
    """Carries commits between engines, as badly as it is told to."""

    def __init__(self, dice: random.Random, losing: float, delay: float) -> None:
        self._dice = dice
        self._losing = losing
        self._delay = delay
        self._benches: list[Bench] = []
        self._followed: list[set[str]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def office(self) -> "Office":
        self._followed.append(set())
        return Office(self, len(self._followed) - 1)

    def join(self, bench: Bench) -> None:
        self._benches.append(bench)

    def send(self, sender: int, commits: list[Commit]) -> None:
        for number, bench in enumerate(self._benches):
            if number == sender:
                continue
            for commit in commits:
                if commit.subject in self._followed[number]:
                    while self._dice.random() < 0.1:
                        self._carry(bench, commit)
                    if self._dice.random() >= self._losing:
                        self._carry(bench, commit)

    def _carry(self, bench: Bench, commit: Commit) -> None:
        # As it comes over the wire: encoded.
        copy = Commit("a", commit.first_id, commit.expiries, commit.published_at, encoded=commit.encoded(encode))

        async def arrive() -> None:
            await asyncio.sleep(self._dice.uniform(0, self._delay))
            bench.engine.receive([copy])

        task = asyncio.create_task(arrive())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Office:
    """One engine's `Peers`."""

    connected = True

    def __init__(self, post: Post, number: int) -> None:
        self._post = post
        self._number = number

    async def follow(self, subject: str) -> None:
        await asyncio.sleep(0.001)
        self._post._followed[self._number].add(subject)

    def unfollow(self, subject: str) -> None:
        self._post._followed[self._number].discard(subject)

    def committed(self, commits: list[Commit]) -> None:
        self._post.send(self._number, commits)


class Scenario:
    """Steps on several engines, and what each subscriber must have got at the end."""

    def __init__(self, benches: list[Bench], store: Shared) -> None:
        self.benches = benches
        self.store = store
        self.kept: dict[int, bool] = {}  # by id
        self.subscribers: dict[tuple[int, int], tuple[int, int]] = {}
        """By engine and token: after which id a message may come, and after which it must."""
        self.left: set[tuple[int, int]] = set()
        self.pending: list[asyncio.Task[None]] = []

    async def publish(self, on: int, expirations: list[int]) -> None:
        future = self.benches[on].publish("a", *expirations)

        async def note() -> None:
            for message_id, expiration in zip(await future, expirations, strict=True):
                self.kept[message_id] = bool(expiration)

        self.pending.append(asyncio.create_task(note()))

    async def subscribe(self, on: int, kind: str) -> None:
        bench, token = self.benches[on], len(self.subscribers) + 1
        last_id = (await self.store.heads(["a"]))["a"]
        after = {"latest": last_id, "earliest": 0, "after": last_id // 2}[kind]
        start = {"latest": LATEST, "earliest": EARLIEST, "after": Start("after", after)}[kind]
        bench.engine.subscribe(token, "a", start, one_each)
        while token not in bench.readers.opened:
            await asyncio.sleep(0.0001)
        # What is committed while it opens may come or not.
        self.subscribers[on, token] = after, (await self.store.heads(["a"]))["a"] if kind == "latest" else after

    async def read(self, on: int, number: int) -> None:
        for bench, token in list(self.subscribers):
            if bench == on and token == number and self.benches[on].readers.read(token):
                self.benches[on].engine.writable(token)

    async def leave(self, on: int, number: int) -> None:
        if (on, number) in self.subscribers:
            self.benches[on].engine.unsubscribe(number)
            self.left.add((on, number))

    async def wait(self, _: int, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)

    async def read_to_the_end(self) -> None:
        await asyncio.gather(*self.pending)
        # As long as the looks at the last ids may take, and the reads after them.
        for _ in range(60):
            await asyncio.sleep(2 * gaps.CHECK_SECONDS / 20)
            for on, token in self.subscribers:
                await self.read(on, token)

    def check(self) -> None:
        last_id = max(self.kept, default=0)
        assert sorted(self.kept) == list(range(1, last_id + 1)), "ids are not dense"
        for (on, token), (after, due_after) in self.subscribers.items():
            ids = self.benches[on].readers.ids(token)
            assert ids == sorted(set(ids)), "out of order or doubled"
            assert not ids or ids[0] > after
            if (on, token) not in self.left:
                due = {message_id for message_id, kept in self.kept.items() if kept and message_id > due_after}
                assert due <= set(ids), f"lost: {sorted(due - set(ids))}"


PUBLISH = st.tuples(
    st.just("publish"), st.integers(0, REPLICAS - 1), st.lists(st.sampled_from([60, 0]), min_size=1, max_size=5)
)
STEPS = st.one_of(
    PUBLISH,
    PUBLISH,
    PUBLISH,
    # Shorter than what is missing is waited for, so that gaps and what lies behind them meet.
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 6)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 6)),
    st.tuples(st.just("subscribe"), st.integers(0, REPLICAS - 1), st.sampled_from(["latest", "earliest", "after"])),
    st.tuples(st.just("read"), st.integers(0, REPLICAS - 1), st.integers(1, 5)),
    st.tuples(st.just("leave"), st.integers(0, REPLICAS - 1), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 30)),
)


async def play(steps, room: int, cache_bytes: int, losing: float, delay: float, seed: int) -> list[Bench]:
    store, post = Shared(), Post(random.Random(seed), losing, delay)
    benches = [Bench(room, Limits(cache_bytes=cache_bytes), store, post.office()) for _ in range(REPLICAS)]
    for bench in benches:
        post.join(bench)
        await bench.__aenter__()
    scenario = Scenario(benches, store)
    try:
        for step, on, value in steps:
            await getattr(scenario, step)(on, value)
        await scenario.read_to_the_end()
        scenario.check()
    finally:
        for bench in benches:
            await bench.__aexit__()
    return benches


@settings(max_examples=150, deadline=None)
@given(
    st.lists(STEPS, min_size=10, max_size=60),
    st.sampled_from([100, 1, 3]),
    st.sampled_from([0, 4000, 1 << 20]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 0.005, 0.05]),
    st.integers(0, 1 << 30),
)
def test_subscribers_of_all_replicas_get_the_same_messages_in_order_each_once(
    steps, room, cache_bytes, losing, delay, seed
):
    virtual_time.run(play(steps, room, cache_bytes, losing, delay, seed))


def test_nothing_is_read_from_the_store_while_commits_arrive():
    steps = [("subscribe", on, "latest") for on in range(REPLICAS)]
    for number in range(60):
        steps += [("publish", number % REPLICAS, [60, 0]), ("wait", 0, number % 3)]

    async def run() -> None:
        benches = await play(steps, 1000, 1 << 20, losing=0.0, delay=0.003, seed=1)
        for bench in benches:
            [ids] = [bench.readers.ids(token) for token in bench.readers.opened]
            assert ids == list(range(1, 121))  # the fire-and-forget ones as well
            assert bench.metric("broker_gaps_filled_total") == 0
            assert bench.metric("broker_reorder_messages") == 0

    virtual_time.run(run())


def test_what_does_not_arrive_is_read_from_the_store_and_counted():
    steps = [("subscribe", 0, "latest"), *[("publish", 1, [60, 60])] * 3, ("wait", 0, 30)]

    async def run() -> None:
        benches = await play(steps, 1000, 1 << 20, losing=1.0, delay=0.0, seed=1)
        assert benches[0].metric("broker_gap_messages_total") == 6
        assert benches[0].metric("broker_delivery_lag_messages") == 0

    virtual_time.run(run())


def test_what_expired_on_its_way_is_not_delivered_and_counted():
    async def run() -> None:
        store = Shared()
        async with Bench(store=store, peers=Post(random.Random(0), 1.0, 0.0).office()) as bench:
            for token in (1, 2):
                bench.engine.subscribe(token, "a", LATEST, one_each)
            await asyncio.sleep(0.1)
            messages = [NewMessage(b"", bench.clock() + 1000), NewMessage(b"", NEVER_STORED), NewMessage(b"", 10**15)]
            bench.clock.advance(1000)
            bench.engine.receive([Commit.of("a", 1, messages, 0), Commit.of("a", 4, messages[:1], 0)])
            assert [bench.readers.ids(token) for token in (1, 2)] == [[2, 3], [2, 3]]
            assert bench.metric("broker_messages_missed_total") == 4

    virtual_time.run(run())
