"""A pod's successor starts while the pod still drains: it waits for the store instead of giving up."""

import asyncio
from pathlib import Path

from tests.support.broker import BrokerProcess
from tests.support.brokers import eventually


async def waits(broker: BrokerProcess) -> bool:
    return "waiting up to" in broker.log


async def test_a_broker_waits_for_the_one_before_it_to_let_go_of_the_store(tmp_path: Path) -> None:
    options = ("--store=sqlite", f"--sqlite-path={tmp_path / 'broker.db'}")
    async with BrokerProcess(*options) as before:
        after = BrokerProcess(*options)
        starting = asyncio.create_task(asyncio.to_thread(after.start))
        await eventually(lambda: waits(after), "the second broker waits")
        assert not starting.done()
        before.terminate()
        await starting
        assert await asyncio.to_thread(before.wait) == 0
        after.terminate()
        assert await asyncio.to_thread(after.wait) == 0


async def test_a_broker_that_waits_for_the_store_ends_at_once_when_told_to(tmp_path: Path) -> None:
    options = ("--store=sqlite", f"--sqlite-path={tmp_path / 'broker.db'}")
    async with BrokerProcess(*options):
        waiting = BrokerProcess(*options)
        starting = asyncio.create_task(asyncio.to_thread(waiting.start))
        await eventually(lambda: waits(waiting), "the second broker waits")
        waiting.terminate()
        assert await asyncio.to_thread(waiting.wait) == 0
        await asyncio.wait([starting])


async def test_it_gives_up_in_the_end(tmp_path: Path) -> None:
    options = ("--store=sqlite", f"--sqlite-path={tmp_path / 'broker.db'}")
    async with BrokerProcess(*options):
        other = BrokerProcess(*options, "--drain-timeout=0")
        starting = asyncio.create_task(asyncio.to_thread(other.start))
        await eventually(lambda: waits(other), "the second broker waits")
        assert await asyncio.to_thread(other.wait) == 1
        assert "error broker: another process holds" in other.log
        await asyncio.wait([starting])
