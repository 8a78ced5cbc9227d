"""Back-pressure: a bound for what was handed over and has no answer yet."""

import asyncio
import contextlib
from collections import deque


class Room:
    """Room for so many messages and bytes, given in the order in which it is asked for.

    One message finds room when there is no other, however large it is: it would never be sent otherwise.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._most = messages
        self._messages = messages
        self._bytes = size
        self._asking: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._given = 0
        """To those who asked and whose task has not gone on yet; nobody overtakes them."""

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._asking) + self._given

    def take(self, size: int) -> bool:
        """Take room for a message of `size` bytes if there is some, and nobody waits for it."""
        if self._asking or self._given or not self._has(size):
            return False
        self._use(size)
        return True

    async def wait(self, size: int) -> None:
        """Take room for a message of `size` bytes as soon as there is some."""
        asked = asyncio.get_running_loop().create_future()
        self._asking.append((size, asked))
        try:
            await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled():  # given, but too late
                self._given -= 1
                self.release(size)
            else:
                with contextlib.suppress(ValueError):
                    self._asking.remove((size, asked))
                self._give()
            raise
        self._given -= 1

    def release(self, size: int, messages: int = 1) -> None:
        """Give back the room of messages of `size` bytes together."""
        self._messages += messages
        self._bytes += size
        self._give()

    def refuse(self, error: Exception) -> None:
        """Raise an error for all who wait."""
        for _, asked in self._asking:
            if not asked.done():
                asked.set_exception(error)
        self._asking.clear()

    def _give(self) -> None:
        while self._asking and self._has(self._asking[0][0]):
            size, asked = self._asking.popleft()
            if not asked.done():
                self._use(size)
                self._given += 1
                asked.set_result(None)

    def _has(self, size: int) -> bool:
        return self._messages > 0 and (self._bytes >= size or self._messages == self._most)

    def _use(self, size: int) -> None:
        self._messages -= 1
        self._bytes -= size
