"""What the grpc.aio door keeps of one stream."""

import asyncio
from collections import deque

from broker.server.door import Ending

JOIN_BYTES = 512 << 10
"""Joinable frames are written together up to this size."""


class Stream:
    """A subscription or dialogue: what waits to be written, and how it shall end."""

    __slots__ = ("bytes", "ending", "full", "joinable", "opened", "queue", "resume_at", "room", "unanswered", "wake")

    def __init__(self, joinable: bool) -> None:
        self.joinable = joinable
        self.queue: deque[bytes] = deque()
        self.bytes = 0
        """Of what is queued or being written."""
        self.full = False
        """Whether it was refused frames, and has not been reported writable since."""
        self.resume_at = 0
        """The bytes at which it is writable again."""
        self.opened = False
        self.ending: Ending | None = None
        self.wake = asyncio.Event()
        """Set when there is something to do for the writing coroutine."""
        self.unanswered = 0
        """Frames of the client whose answers it has yet to take."""
        self.room = asyncio.Event()
        """Set when the client may send more."""
        self.room.set()

    def refuse(self) -> None:
        """Take nothing more until half of what is queued has been written."""
        self.full = True
        self.resume_at = self.bytes // 2

    def next_frame(self) -> bytes:
        """Take the next frame off the queue, joined with those after it where that is allowed."""
        queue = self.queue
        if not self.joinable or len(queue) == 1:
            return queue.popleft()
        parts = [queue.popleft()]
        size = len(parts[0])
        while queue and size + len(queue[0]) <= JOIN_BYTES:
            parts.append(queue.popleft())
            size += len(parts[-1])
        return b"".join(parts)
