"""One PublishStream call: frames leave in order, answers come in the same order."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import grpc

T = TypeVar("T")
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
        self._status: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)
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
            status = self._status or error
        finally:
            self._call.cancel()
            self._writer.cancel()
            if not self._cancelled:
                self._ended(status)

    def _note(self, _: Any) -> None:
        """Remember how the server ended the call: gRPC puts INTERNAL in its place when a write fails afterwards.

        https://github.com/grpc/grpc/issues/36066
        """
        call = self._call
        if self._status is None and (code := _now(call.code())) is not grpc.StatusCode.OK:
            begin, end = _now(call.initial_metadata()), _now(call.trailing_metadata())
            self._status = grpc.aio.AioRpcError(code, begin, end, details=_now(call.details()))


def _now(asked: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that has nothing to wait for: those of a call that has ended."""
    try:
        asked.send(None)
    except StopIteration as returned:
        result: T = returned.value
        return result
    raise RuntimeError("the call has not ended")
