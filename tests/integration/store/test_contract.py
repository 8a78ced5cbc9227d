"""What every store promises, by example. test_interleavings.py adds what no one thought of."""

import asyncio
from itertools import pairwise

import pytest

from broker.store import NEVER_STORED, NewMessage, StoredMessage
from tests.support.stores import StoreCase, append

EVER = 10**15
ROOM = 10**9


def messages(*bodies: bytes, expires_at: int = EVER) -> list[NewMessage]:
    return [NewMessage(body, expires_at) for body in bodies]


async def test_ids_begin_at_one_and_are_dense_for_each_subject(case: StoreCase) -> None:
    assert await append(case.store, {"a": messages(b"1", b"2"), "b": messages(b"x")}, 7) == {"a": 0, "b": 0}
    assert await append(case.store, {"a": messages(b"3")}, 8) == {"a": 2}
    page = await case.store.read("a", 0, 10, ROOM)
    stored = [StoredMessage(1, b"1", 7, EVER), StoredMessage(2, b"2", 7, EVER), StoredMessage(3, b"3", 8, EVER)]
    assert page == (stored, 3, True)


async def test_unknown_subjects_are_empty_and_are_not_made_by_asking(case: StoreCase) -> None:
    assert await case.store.heads(["no"]) == {"no": 0}
    assert await case.store.read("no", 0, 10, ROOM) == ([], 0, True)
    assert await case.store.get([("no", 1)]) == [None]
    assert await case.store.before("no", 0) == 0
    assert await append(case.store, {"no": messages(b"1")}, 0) == {"no": 0}


async def test_fire_and_forget_takes_an_id_and_nothing_else(case: StoreCase) -> None:
    transient = NewMessage(b"1", NEVER_STORED)
    await append(case.store, {"a": [transient, *messages(b"2"), transient]}, 0)
    assert await case.store.heads(["a"]) == {"a": 3}
    assert await case.store.read("a", 0, 10, ROOM) == ([StoredMessage(2, b"2", 0, EVER)], 3, True)
    assert await case.store.get([("a", 1), ("a", 2), ("a", 3)]) == [None, StoredMessage(2, b"2", 0, EVER), None]
    assert await append(case.store, {"a": messages(b"4")}, 0) == {"a": 3}


async def test_a_message_is_gone_when_its_time_has_come_to_the_millisecond(case: StoreCase) -> None:
    await append(case.store, {"a": messages(b"1", expires_at=case.clock.now + 1000)}, case.clock.now)
    case.clock.advance(999)
    assert [message.body for message in (await case.store.read("a", 0, 10, ROOM)).messages] == [b"1"]
    case.clock.advance(1)
    assert await case.store.read("a", 0, 10, ROOM) == ([], 1, True)
    assert await case.store.get([("a", 1)]) == [None]
    assert await case.store.before("a", 0) == 1


async def test_ids_are_not_reused_after_everything_expired_and_a_restart(case: StoreCase) -> None:
    await append(case.store, {"a": messages(b"1", b"2", expires_at=case.clock.now + 1)}, case.clock.now)
    case.clock.advance(1)
    assert await case.store.expire(100) == 2
    if case.store.durable:
        await case.reopen()
    assert await append(case.store, {"a": messages(b"3")}, case.clock.now) == {"a": 2}


async def test_expire_deletes_at_most_its_limit_and_only_what_is_due(case: StoreCase) -> None:
    due, later = case.clock.now + 10, case.clock.now + 20
    batch = [*messages(*[b"x"] * 5, expires_at=due), *messages(b"y", expires_at=later), *messages(b"z", expires_at=due)]
    await append(case.store, {"a": batch}, case.clock.now)
    case.clock.advance(10)
    assert [await case.store.expire(4) for _ in range(3)] == [4, 2, 0]
    assert [message.id for message in (await case.store.read("a", 0, 10, ROOM)).messages] == [6]


@pytest.mark.parametrize(
    ("after_id", "limit", "max_bytes", "ids", "complete"),
    [
        (0, 10, ROOM, [1, 2, 3, 4], True),
        (0, 4, 40, [1, 2, 3, 4], True),
        (0, 3, ROOM, [1, 2, 3], False),
        (0, 10, 39, [1, 2, 3], False),
        (0, 10, 1, [1], False),
        (3, 1, 1, [4], True),
        (2, 10, ROOM, [3, 4], True),
        (4, 10, ROOM, [], True),
        (2**62, 10, ROOM, [], True),
    ],
)
async def test_pages(
    case: StoreCase, after_id: int, limit: int, max_bytes: int, ids: list[int], complete: bool
) -> None:
    await append(case.store, {"a": messages(*[b"0123456789"] * 4), "b": messages(b"other")}, 0)
    page = await case.store.read("a", after_id, limit, max_bytes)
    assert ([message.id for message in page.messages], page.last_id, page.complete) == (ids, 4, complete)


async def test_get_answers_in_the_order_of_the_question(case: StoreCase) -> None:
    await append(case.store, {"a": messages(b"1", b"2"), "b": messages(b"x")}, 0)
    found = await case.store.get([("b", 1), ("a", 2), ("a", 3), ("a", 0), ("a", -1), ("a", 2**40 + 1), ("a", 2)])
    assert [message and message.body for message in found] == [b"x", b"2", None, None, None, None, b"2"]


async def test_before_finds_a_time_among_many_messages(case: StoreCase) -> None:
    for time in range(100, 160, 10):
        await append(case.store, {"a": messages(*[b"x"] * 400), "b": messages(b"y")}, time)
    assert [await case.store.before("a", time) for time in (0, 100, 101, 110, 149, 150, 151)] == [
        *(0, 0, 400, 400, 2000, 2000, 2400)
    ]


async def test_bodies_of_any_size_and_content_come_back(case: StoreCase) -> None:
    bodies = [b"", b"\x00", bytes(range(256)) * 16, b"x" * 3_000_000]
    await append(case.store, {"ünïcode/主题": messages(*bodies)}, 0)
    page = await case.store.read("ünïcode/主题", 0, 10, ROOM)
    assert [message.body for message in page.messages] == bodies


async def test_many_new_subjects_in_one_batch(case: StoreCase) -> None:
    names = [f"subject-{number}" for number in range(500)]
    assert set((await append(case.store, {name: messages(b"1") for name in names}, 0)).values()) == {0}
    assert await append(case.store, {name: messages(b"2") for name in names}, 0) == dict.fromkeys(names, 1)
    assert await case.store.heads(names) == dict.fromkeys(names, 2)


async def test_usage_grows_with_what_is_stored_and_falls_with_what_expires(case: StoreCase) -> None:
    empty = (await case.store.usage()).bytes
    await append(case.store, {"a": messages(*[b"x" * 1000] * 100, expires_at=case.clock.now + 1)}, 0)
    full = (await case.store.usage()).bytes
    case.clock.advance(1)
    await case.store.expire(100)
    case.give_back()
    assert full >= empty + 100_000
    assert (await case.store.usage()).bytes < full - 90_000


async def test_readers_beside_a_writer_see_whole_batches_in_order(case: StoreCase) -> None:
    batches, size = 60, 7
    writing = True

    async def write() -> None:
        nonlocal writing
        for _ in range(batches):
            await append(case.store, {"a": messages(*[b"x"] * size)}, 0)
            await asyncio.sleep(0)
        writing = False

    async def follow() -> list[StoredMessage]:
        seen: list[StoredMessage] = []
        while True:
            ended = not writing
            page = await case.store.read("a", len(seen), 50, ROOM)
            assert page.last_id % size == 0
            seen += page.messages
            if ended and page.complete:
                return seen
            await asyncio.sleep(0)

    followers = [asyncio.create_task(follow()) for _ in range(3)]
    await write()
    for seen in await asyncio.gather(*followers):
        assert seen[0].id == 1
        assert len(seen) == batches * size
        assert all(after.id == before.id + 1 for before, after in pairwise(seen))
