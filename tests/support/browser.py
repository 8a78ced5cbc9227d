"""A web page in a headless Chromium: it tells what it found by a POST to /result of the server it comes from."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
_PATIENCE_SECONDS = 60.0


class Site:
    """A server of one page.

    Attributes:
        origin: "http://127.0.0.1:PORT".
    """

    def __init__(self, page: Path) -> None:
        self._page = page
        self._results: asyncio.Queue[Any] = asyncio.Queue()
        self.origin = ""

    async def page(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self._page)

    async def result(self, request: web.Request) -> web.Response:
        self._results.put_nowait(await request.json())
        return web.Response()

    async def visit(self, query: str) -> Any:
        """Let Chromium open the page, and return what that finds."""
        chromium = shutil.which("chromium")
        if chromium is None:
            pytest.skip("chromium is not on this machine (Debian: apt-get install chromium)")
        directory = tempfile.mkdtemp(prefix="chromium-")
        process = await asyncio.create_subprocess_exec(
            *(chromium, *_OPTIONS, f"--user-data-dir={directory}", f"{self.origin}/?{query}"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._results.get()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def site(page: Path) -> AsyncIterator[Site]:
    """The page on a port of 127.0.0.1."""
    found = Site(page)
    application = web.Application()
    application.add_routes([web.get("/", found.page), web.post("/result", found.result)])
    runner = web.AppRunner(application)
    await runner.setup()
    listening = web.TCPSite(runner, "127.0.0.1", 0)
    await listening.start()
    found.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()
