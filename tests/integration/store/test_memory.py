"""The memory store's bound: what counts, what is refused, and that the figures are true."""

import sys
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from broker.errors import StoreFull
from broker.store import NEVER_STORED, Appended, MemoryStore, NewMessage
from broker.store.memory import MESSAGE_OVERHEAD, SUBJECT_OVERHEAD
from tests.support.stores import FakeClock, append

LIMIT = 1_000_000
EVER = 10**15


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[MemoryStore]:
    store = MemoryStore(LIMIT, clock)
    await store.open()
    yield store
    await store.close()


async def test_a_subject_that_does_not_fit_is_refused_and_its_neighbours_are_stored(store: MemoryStore) -> None:
    results = await append(
        store,
        {
            "small": [NewMessage(b"1", EVER)],
            "big": [NewMessage(b"1", EVER), NewMessage(b"x" * LIMIT, EVER)],
            "last": [NewMessage(b"2", EVER)],
        },
        0,
    )
    refused = results.pop("big")
    assert isinstance(refused, StoreFull)
    assert str(LIMIT) in refused.message
    assert refused.metadata == {"limit": "memory", "limit_bytes": str(LIMIT)}
    assert results == {"small": 0, "last": 0}
    assert await store.heads(["small", "big", "last"]) == {"small": 1, "big": 0, "last": 1}


async def test_the_limit_is_never_passed(store: MemoryStore) -> None:
    stored = 0
    while not isinstance((await append(store, {"a": [NewMessage(b"x" * 1000, EVER)]}, 0))["a"], StoreFull):
        stored += 1
        assert (await store.usage()).bytes <= LIMIT
    assert stored == (LIMIT - SUBJECT_OVERHEAD) // (1000 + MESSAGE_OVERHEAD)
    assert await store.heads(["a"]) == {"a": stored}


async def test_a_flood_of_subjects_meets_the_limit_too(store: MemoryStore) -> None:
    batch = {f"subject-{number:04}": [NewMessage(b"", NEVER_STORED)] for number in range(5000)}
    results = await append(store, batch, 0)
    known = sum(isinstance(result, int) for result in results.values())
    assert known == LIMIT // (SUBJECT_OVERHEAD + sys.getsizeof("subject-0000"))
    assert (await store.usage()).bytes <= LIMIT


async def test_fire_and_forget_of_a_known_subject_needs_no_room(store: MemoryStore) -> None:
    await append(store, {"a": [NewMessage(b"1", EVER)]}, 0)
    full = (await append(store, {"a": [NewMessage(b"x" * LIMIT, EVER)]}, 0))["a"]
    assert isinstance(full, StoreFull)
    assert await append(store, {"a": [NewMessage(b"x" * LIMIT, NEVER_STORED)]}, 0) == {"a": 1}


async def test_expired_messages_make_room_and_are_counted_once(store: MemoryStore, clock: FakeClock) -> None:
    soon = [NewMessage(b"x" * 10_000, clock.now + 1)] * 50
    assert await append(store, {"a": soon}, 0) == {"a": 0}
    assert isinstance((await append(store, {"a": soon}, 0))["a"], StoreFull)
    clock.advance(1)
    assert await append(store, {"a": soon}, 0) == {"a": 50}
    assert [await store.expire(60), await store.expire(60)] == [60, 40]
    assert (await store.usage()).bytes < 2 * SUBJECT_OVERHEAD


@pytest.mark.parametrize("subjects", [1, 3000])
async def test_the_stated_overheads_cover_what_python_really_takes(subjects: int) -> None:
    """At worst: every message is appended alone, with a time of its own, so nothing is shared."""
    store = MemoryStore(10**9)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(6000):
            subject = f"subject-{number % subjects}"
            await append(store, {subject: [NewMessage(b"%0100d" % number, EVER + number)]}, 10**12 + number)
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = (await store.usage()).bytes
    assert 0.7 * counted < real <= counted


@pytest.mark.parametrize("batch", [1, 100])
@pytest.mark.parametrize("subjects", [1, 3000])
async def test_the_stated_overheads_of_keys_and_headers_cover_what_python_really_takes(
    subjects: int, batch: int, clock: FakeClock
) -> None:
    """At worst: each key is appended alone, with a time of its own."""
    store = MemoryStore(10**9, clock)
    for number in range(subjects):
        await append(store, {f"subject-{number}": [NewMessage(b"", NEVER_STORED)]}, 0)
    known = (await store.usage()).bytes
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(0, 6000, batch):
            messages = [
                NewMessage(b"", EVER + n if n % 2 else NEVER_STORED, b"%030d" % n, b"%016d" % n)
                for n in range(number, number + batch)
            ]
            await store.append({f"subject-{number % subjects}": messages}, 10**12 + number, EVER + number)
        del messages
        real = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = (await store.usage()).bytes - known
    assert 0.5 * counted < real <= counted


async def test_keys_take_their_share_and_the_oldest_are_forgotten_for_the_newest(
    store: MemoryStore, clock: FakeClock
) -> None:
    """They come with every message of the client: publishing goes on, whatever time they have left."""

    def named(number: int) -> dict[str, list[NewMessage]]:
        return {"a": [NewMessage(b"", NEVER_STORED, key=b"key %d" % number)]}

    count = 0
    while not (usage := await store.usage()).keys_forgotten:
        assert await store.append(named(count), 0, clock.now + 1000) == {"a": Appended(count)}
        assert usage.bytes <= LIMIT * 0.3
        count += 1
    kept = count - usage.keys_forgotten
    assert kept > 500
    newest = await store.append(named(count - 1), 0, clock.now + 1000)
    assert newest == {"a": Appended(count, {0: count})}
    assert await store.append(named(0), 0, clock.now + 1000) == {"a": Appended(count)}
    # In due time they all go, and nothing of them is left.
    clock.advance(1000)
    await store.expire(10_000)
    assert (await store.usage()).bytes < 2000
