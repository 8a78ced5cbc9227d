"""Asking brokers, which here are small HTTP servers on loopback addresses, all on one port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from broker_operator.inquiry import MOST, Inquiry

Answer = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def brokers(*answers: Answer) -> AsyncIterator[tuple[int, list[str]]]:
    """A broker for each answer; yields their port and their addresses."""
    runners: list[web.AppRunner] = []
    port = 0
    hosts = [f"127.0.0.{number}" for number in range(1, len(answers) + 1)]
    try:
        for host, answer in zip(hosts, answers, strict=True):
            app = web.Application()
            app.router.add_get("/{path:readyz|config}", answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            port = int(runner.addresses[0][1])
            runners.append(runner)
        yield port, hosts
    finally:
        for runner in runners:
            await runner.cleanup()


def says(text: str, status: int = 503) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


async def silence(_: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def moved(_: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def test_each_broker_that_is_not_ready_says_why_in_one_line() -> None:
    async with brokers(says("the store is away:\n  refused\x1b[31m\n"), says("ok", 200)) as (port, (first, second)):
        async with Inquiry(port) as inquiry:
            assert await inquiry.causes({"a": first, "b": second}) == {"a": "the store is away: refused [31m"}
            assert await inquiry.causes({}) == {}


async def test_those_that_do_not_answer_are_left_out() -> None:
    async with brokers(silence, says("why"), moved) as (port, (quiet, heard, elsewhere)):
        async with Inquiry(port, timeout=0.5) as inquiry:
            asked = {"a": quiet, "b": heard, "c": elsewhere, "d": "127.0.0.99"}
            assert await inquiry.causes(asked) == {"b": "why"}


async def test_an_answer_is_bounded_and_so_is_the_number_of_questions() -> None:
    async with brokers(says("x" * 1_000_000)) as (port, (host,)):
        async with Inquiry(port) as inquiry:
            causes = await inquiry.causes({f"broker-{number:02}": host for number in range(MOST + 1)})
    assert list(causes) == [f"broker-{number:02}" for number in range(MOST)]
    assert {cause.strip("x") for cause in causes.values()} == {""}
    assert max(map(len, causes.values())) <= 1024


async def test_proxies_tell_of_their_configuration() -> None:
    async with brokers(says('{"stats": []}', 200), says("no", 404), silence) as (port, (told, missing, quiet)):
        async with Inquiry(port, timeout=0.5) as inquiry:
            found = await inquiry.configurations({"a": told, "b": missing, "c": quiet})
    assert found == {"a": '{"stats": []}'}
