"""The native door: a Rust extension moves the bytes on a thread of its own, and hands over in lists what has queued."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

import brokercluster_native as native

from broker.server.addresses import with_port
from broker.server.door import Answer, Arrivals, Credentials, DoorLimits, Ending, Handler, Route
from broker.server.refusals import refusals

if native.PANIC != "abort":
    # A broker without its door must end, so that it is started again; it would answer nobody otherwise.
    raise ImportError(
        "brokercluster_native was built without panic=abort: build it with the profiles of native/Cargo.toml"
    )


class NativeDoor:
    """Serves routes through the extension. See `broker.server.door` for what its methods promise."""

    name = "native"

    def __init__(
        self,
        listen: str,
        routes: Sequence[Route],
        headers: Sequence[str],
        limits: DoorLimits,
        credentials: Credentials | None = None,
    ) -> None:
        self._listen = listen
        self._routes = [(route.path, route.kind) for route in routes]
        self._headers = list(headers)
        self._limits = limits
        self._credentials = credentials
        self._handle: Handler = lambda _: None
        self._taken = asyncio.Event()
        """Set when something was handed over; the end of the last connection is."""

    async def start(self, handle: Handler) -> str:
        """Listen, and hand arrivals to `handle`."""
        self._handle = handle
        try:
            self._door = native.Door(
                self._listen, self._routes, self._headers, refusals(self._limits), self._limits, tls=self._credentials
            )
        except ValueError as error:
            # The certificate, mostly: OpenSSL can use kinds of keys that the extension cannot.
            raise OSError(f"the native door cannot be opened: {error}") from None
        asyncio.get_running_loop().add_reader(self._door.fileno(), self._take)
        return with_port(self._listen, self._door.port)

    def set_tls(self, credentials: Credentials) -> None:
        """Let new connections use these from now on."""
        self._door.set_tls(*credentials)

    async def stop(self, grace: float) -> None:
        """Accept nothing more, wait for calls to end, cut off what is left after `grace` seconds."""
        self._door.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._door.counters()["connections"]:
                    self._taken.clear()
                    await self._taken.wait()
        asyncio.get_running_loop().remove_reader(self._door.fileno())
        self._take()
        self._door.stop()

    def counters(self) -> Mapping[str, int]:
        """Return what the extension counts."""
        return self._door.counters()

    def answer(self, answers: list[Answer]) -> None:
        """Answer unary calls."""
        self._door.answer(answers)

    def open(self, tokens: list[int]) -> None:
        """Send initial metadata now."""
        self._door.open(tokens)

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue frames; returns the subscriptions that are full."""
        return self._door.send(frames, tokens)

    def finish(self, endings: list[Ending]) -> None:
        """End calls and streams with a status."""
        self._door.finish(endings)

    def _take(self) -> None:
        self._handle(Arrivals(*self._door.take()))
        self._taken.set()
