"""The native door: a Rust extension moves the bytes on a thread of its own, and hands over in lists what has queued."""

import asyncio
import contextlib

from brokercluster_native import Door as Extension

from broker.server.door import Answer, Arrivals, DoorLimits, Ending, Handler, Route

DRAIN_POLL = 0.01
"""Seconds between looks at the connections that are left."""


class NativeDoor:
    """Serves routes through the extension. See `broker.server.door` for what its methods promise."""

    name = "native"

    def __init__(self, listen: str, routes: list[Route], limits: DoorLimits) -> None:
        self._listen = listen
        self._routes = [(route.path, route.kind) for route in routes]
        self._limits = limits
        self._handle: Handler = lambda _: None

    async def start(self, handle: Handler) -> str:
        """Listen, and hand arrivals to `handle`."""
        self._handle = handle
        limits = self._limits
        self._door = door = Extension(
            self._listen,
            self._routes,
            max_message=limits.max_request,
            max_streams=10_000,
            queue_frames=4096,
            queue_bytes=limits.max_stream_queue,
        )
        self.answer = door.answer
        self.open = door.open
        self.send = door.send
        self.finish = door.finish
        asyncio.get_running_loop().add_reader(door.fileno(), self._take)
        return f"{self._listen.rpartition(':')[0]}:{door.port}"

    async def stop(self, grace: float) -> None:
        """Accept nothing more, wait for calls to end, cut off what is left after `grace` seconds."""
        self._door.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._door.counters()["connections"]:
                    await asyncio.sleep(DRAIN_POLL)
        asyncio.get_running_loop().remove_reader(self._door.fileno())
        self._take()
        self._door.stop()

    def _take(self) -> None:
        self._handle(Arrivals(*self._door.take()))

    # Bound to the extension's own at the start.

    def answer(self, answers: list[Answer]) -> None:
        """Answer unary calls."""

    def open(self, tokens: list[int]) -> None:
        """Send initial metadata now."""

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue frames; returns the subscriptions that are full."""
        return []

    def finish(self, endings: list[Ending]) -> None:
        """End calls and streams with a status."""
