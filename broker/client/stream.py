"""One PublishStream call: frames leave in order, answers come in the same order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import grpc

Call = grpc.aio.StreamStreamCall[bytes, bytes]


class FrameStream:
    """Writes frames and reads answers in two tasks, until the call ends or `cancel`.

    Args:
        call: the call, just begun.
        answered: gets each answer.
        ended: called once when the call has ended, with its status; None when the server ended it with OK. Not called
            after `cancel`.
    """

    def __init__(
        self,
        call: Call,
        answered: Callable[[bytes], None],
        ended: Callable[[grpc.aio.AioRpcError | None], None],
    ) -> None:
        self._call = call
        self._answered = answered
        self._ended = ended
        self._queue: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._cancelled = False
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    def send(self, frame: bytes) -> None:
        """Write a frame after those before it."""
        self._queue.append(frame)
        self._more.set()

    def cancel(self) -> None:
        """End the call; nothing more is said about it."""
        self._cancelled = True
        self._call.cancel()
        self._writer.cancel()
        self._reader.cancel()

    async def closed(self) -> None:
        """Wait until its tasks have ended, after `cancel`."""
        await asyncio.wait([self._writer, self._reader])

    async def _write(self) -> None:
        # A call that has ended takes no frame; how it ended is for `_read` to say.
        with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            while True:
                while self._queue:
                    await self._call.write(self._queue.popleft())
                self._more.clear()
                await self._more.wait()

    async def _read(self) -> None:
        status: grpc.aio.AioRpcError | None = None
        try:
            while isinstance(answer := await self._call.read(), bytes):  # otherwise it is EOF
                self._answered(answer)
        except grpc.aio.AioRpcError as error:
            status = error
        finally:
            self._call.cancel()
            self._writer.cancel()
            if not self._cancelled:
                self._ended(status)
