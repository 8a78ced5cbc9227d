"""Keys: a message is taken once, on every store, by example."""

import pytest

from broker.errors import Refused
from broker.store import NEVER_STORED, Appended, NewMessage, Store, StoredMessage
from tests.support.stores import StoreCase

EVER = 10**15
ROOM = 10**9
WINDOW = 1000


def named(*keys: bytes, expires_at: int = EVER) -> list[NewMessage]:
    """Messages with these keys, and bodies that tell them."""
    return [NewMessage(b"body of " + key, expires_at, key=key) for key in keys]


async def append(case: StoreCase, **batch: list[NewMessage]) -> dict[str, Appended | Refused]:
    return await case.store.append(batch, case.clock.now, case.clock.now + WINDOW)


async def bodies(store: Store, subject: str) -> list[bytes]:
    return [message.body for message in (await store.read(subject, 0, 10**6, ROOM)).messages]


async def test_the_same_key_gives_the_first_id_and_stores_nothing(case: StoreCase) -> None:
    assert await append(case, a=named(b"k")) == {"a": Appended(0)}
    assert await append(case, a=[NewMessage(b"other body", EVER, key=b"k")]) == {"a": Appended(1, {0: 1})}
    assert await bodies(case.store, "a") == [b"body of k"]
    assert await append(case, a=named(b"")) == {"a": Appended(1)}


async def test_ids_stay_dense_where_some_of_a_batch_are_known(case: StoreCase) -> None:
    await append(case, a=named(b"2", b"", b"4"), b=named(b"1"))
    again = named(b"1", b"2", b"", b"3", b"4", b"5")
    assert await append(case, a=again, b=named(b"1"), c=named(b"1")) == {
        "a": Appended(3, {1: 1, 4: 3}),
        "b": Appended(1, {0: 1}),
        "c": Appended(0),
    }
    page = await case.store.read("a", 3, 10, ROOM)
    assert [(message.id, message.body) for message in page.messages] == [
        *((4, b"body of 1"), (5, b"body of "), (6, b"body of 3"), (7, b"body of 5"))
    ]
    assert await append(case, a=again) == {"a": Appended(7, {0: 4, 1: 1, 3: 6, 4: 3, 5: 7})}


async def test_subjects_do_not_share_keys(case: StoreCase) -> None:
    names = [f"subject-{number}" for number in range(50)]
    for expected in (Appended(0), Appended(1, {0: 1})):
        assert await append(case, **{name: named(b"k") for name in names}) == dict.fromkeys(names, expected)


async def test_a_key_counts_until_its_time_to_the_millisecond(case: StoreCase) -> None:
    await append(case, a=named(b"k", b"l"))
    case.clock.advance(WINDOW - 1)
    assert await append(case, a=named(b"k")) == {"a": Appended(2, {0: 1})}
    case.clock.advance(1)
    # Nothing has deleted it yet. That it was met a millisecond ago gave it no more time.
    assert await append(case, a=named(b"k", b"m")) == {"a": Appended(2)}
    assert await append(case, a=named(b"k", b"l")) == {"a": Appended(4, {0: 3})}
    case.clock.advance(WINDOW - 1)
    await case.store.expire(100)
    assert await append(case, a=named(b"k", b"l")) == {"a": Appended(5, {0: 3, 1: 5})}


async def test_keys_outlive_their_messages(case: StoreCase) -> None:
    await append(case, a=named(b"transient", expires_at=NEVER_STORED) + named(b"short", expires_at=case.clock.now + 1))
    case.clock.advance(1)
    assert await case.store.expire(100) == 1
    assert await append(case, a=named(b"short", b"transient")) == {"a": Appended(2, {0: 2, 1: 1})}


async def test_deleting_keys_counts_no_messages_and_gives_space_back(case: StoreCase) -> None:
    empty = (await case.store.usage()).bytes
    await append(case, a=named(*[b"%0200d" % number for number in range(5000)], expires_at=NEVER_STORED))
    full = (await case.store.usage()).bytes
    assert full >= empty + 1_000_000
    case.clock.advance(WINDOW)
    assert await case.store.expire(10_000) == 0
    case.give_back()
    assert (await case.store.usage()).bytes < full - 900_000
    assert await append(case, a=named(b"%0200d" % 1)) == {"a": Appended(5000)}


async def test_keys_survive_a_restart_where_messages_do(case: StoreCase) -> None:
    await append(case, a=named(b"k"))
    if not case.store.durable:
        pytest.skip("nothing survives")
    await case.reopen()
    assert await append(case, a=named(b"k", b"l")) == {"a": Appended(1, {0: 1})}


async def test_any_bytes_are_a_key(case: StoreCase) -> None:
    keys = [b"\0", b"\0\0", b"k", b"k\0", bytes(range(1, 256)), b"\xff" * 255, "schlüssel".encode()]
    assert await append(case, a=named(*keys)) == {"a": Appended(0)}
    assert await append(case, a=named(*reversed(keys))) == {"a": Appended(7, {place: 7 - place for place in range(7)})}


async def test_headers_come_back_as_they_were(case: StoreCase) -> None:
    headers = [b"", b"\0\xff", b"x" * 8192]
    stored = [StoredMessage(number, b"body", 0, EVER, each) for number, each in enumerate(headers, 1)]
    messages = [NewMessage(b"body", EVER, each) for each in headers]
    await case.store.append({"a": messages, "b": messages[:1]}, 0, 0)
    assert (await case.store.read("a", 0, 10, ROOM)).messages == stored
    assert await case.store.get([("a", 3), ("b", 1), ("a", 2)]) == [stored[2], stored[0], stored[1]]
    # They count in the size of a page.
    assert len((await case.store.read("a", 0, 10, 8000)).messages) == 2
