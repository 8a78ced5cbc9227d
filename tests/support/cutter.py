"""A TCP proxy on loopback that cuts connections, or swallows what passes, when a test says so."""

import asyncio
from collections.abc import Callable
from typing import Self


class Cutter:
    """Passes bytes on to a port of this machine, which is asked for with each connection; 0: there is none."""

    def __init__(self, port: int | Callable[[], int]) -> None:
        self._target = port if callable(port) else lambda: port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._replies_until_cut = 0
        self.port = 0
        self.connections = 0
        """How many there have been."""
        self.silent = False
        """While true, nothing passes and nothing is closed."""
        self.refusing = False
        """While true, new connections are ended at once."""
        self.mute = False
        """While true, what the target says does not arrive."""

    def cut_at_reply(self, number: int = 1) -> None:
        """Cut everything when the target says something for this number of times; what it then says does not arrive.

        0 takes that back.
        """
        self._replies_until_cut = number

    def cut(self) -> None:
        """End all connections at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, target_writer}
        for pump in (self._pump(reader, target_writer, False), self._pump(target_reader, writer, True)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: bool) -> None:
        try:
            while data := await reader.read(65536):
                if replies and self._replies_until_cut:
                    self._replies_until_cut -= 1
                    if not self._replies_until_cut:
                        self.cut()
                        continue
                if not self.silent and not (replies and self.mute):
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
