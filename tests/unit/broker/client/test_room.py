import asyncio

import pytest

from broker.client.room import Room


async def turn() -> None:
    """Let every task go on as far as it can."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_has_two_bounds() -> None:
    room = Room(messages=2, size=100)
    assert room.take(60)
    assert not room.take(41)
    assert room.take(40)
    room.release(60)
    assert room.take(1)
    assert not room.take(0), "two messages are in it"


async def test_what_is_larger_than_the_room_comes_in_alone() -> None:
    room = Room(messages=2, size=100)
    assert room.take(1000)
    assert not room.take(1)
    room.release(1000)
    assert room.take(1)
    assert not room.take(1000)


async def test_room_is_given_in_order_and_nobody_overtakes() -> None:
    room = Room(messages=1, size=100)
    assert room.take(1)
    order: list[int] = []

    async def enter(number: int) -> None:
        await room.wait(1)
        order.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(3)]
    await turn()
    room.release(1)
    assert not room.take(1), "it was given to one whose task has not gone on yet"
    for _ in tasks:
        await turn()
        room.release(1)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


@pytest.mark.parametrize("given", [False, True])
async def test_who_leaves_takes_no_room_along(given: bool) -> None:
    room = Room(messages=1, size=100)
    assert room.take(70)
    leaving = asyncio.create_task(room.wait(90))
    staying = asyncio.create_task(room.wait(10))
    await turn()
    if given:
        room.release(70)
    leaving.cancel()
    await turn()
    assert leaving.cancelled()
    if not given:
        assert not staying.done()
        room.release(70)
    await staying
    assert not room.take(0)
    room.release(10)
    assert room.take(100)


async def test_all_who_wait_can_be_refused() -> None:
    room = Room(messages=1, size=100)
    assert room.take(1)
    waiting = [asyncio.create_task(room.wait(1)) for _ in range(2)]
    await turn()
    room.refuse(OSError("closed"))
    for task in waiting:
        with pytest.raises(OSError, match="closed"):
            await task
