"""What waits to be published, and which of it may leave together.

The messages of a subject leave in order, and never while an earlier one of them has no answer: so they keep their order
when some of them have to be sent again. A frame holds messages of any subjects.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from broker.client.errors import BrokerError, OutcomeUnknown
from broker.client.messages import MessageId

FRAME_MESSAGES = 1000
FRAME_BYTES = 512 << 10
"""Frames are cut to what every server takes; a larger message is a frame of its own."""


class Pending:
    """A message that was handed over and has no answer yet.

    Attributes:
        subject: of the message.
        part: the message as a frame of one; frames are joined by putting parts one after the other.
        answer: gets the id or the error.
        deadline: the event loop's time at which it fails.
        timeout: the seconds that led to the deadline, for messages.
        keyed: it has a key, so sending it again cannot store it twice.
        named: the key is the caller's.
        in_flight: it was sent, and the answer is awaited.
        attempts: how often it was sent in vain.
        error: what the last attempt came to, when it certainly stored nothing.
        doubt: what an attempt came to that may have stored it.
    """

    __slots__ = (
        "answer",
        "attempts",
        "deadline",
        "doubt",
        "error",
        "in_flight",
        "keyed",
        "named",
        "part",
        "subject",
        "timeout",
    )

    def __init__(
        self,
        subject: str,
        part: bytes,
        answer: "asyncio.Future[MessageId]",
        deadline: float,
        timeout: float,
        *,
        keyed: bool = False,
        named: bool = False,
    ) -> None:
        self.subject = subject
        self.part = part
        self.answer = answer
        self.deadline = deadline
        self.timeout = timeout
        self.keyed = keyed
        self.named = named
        self.in_flight = False
        self.attempts = 0
        self.error: BrokerError | None = None
        self.doubt: OutcomeUnknown | None = None


class Frame:
    """Messages that leave together, and their subjects."""

    __slots__ = ("messages", "sent_at", "subjects")

    def __init__(self, messages: list[Pending], subjects: list[str]) -> None:
        self.messages = messages
        self.subjects = subjects
        self.sent_at = 0.0
        """By the event loop's clock."""

    def encode(self) -> bytes:
        """Return it as a `broker.PublishBatchRequest`."""
        return b"".join([message.part for message in self.messages])


class _Queue:
    """The waiting messages of a subject."""

    __slots__ = ("held", "messages")

    def __init__(self) -> None:
        self.messages: deque[Pending] = deque()
        self.held = False
        """An earlier message of the subject is in flight, or rests before it is sent again."""


class Composer:
    """Queues by subject, and frames of what may leave, the subject that waits longest first.

    Args:
        frame_messages: in a frame at most.
        frame_bytes: in a frame at most; a larger message leaves alone.
    """

    def __init__(self, frame_messages: int = FRAME_MESSAGES, frame_bytes: int = FRAME_BYTES) -> None:
        self._frame_messages = frame_messages
        self._frame_bytes = frame_bytes
        self._queues: dict[str, _Queue] = {}
        self._free: deque[str] = deque()
        """The subjects whose messages may leave; each has some."""
        self.ready = 0
        """How many messages may leave."""

    def __iter__(self) -> Iterator[Pending]:
        """Iterate over all that wait."""
        for queue in self._queues.values():
            yield from queue.messages

    @property
    def has_full_frame(self) -> bool:
        """Whether a frame would be full of what may leave."""
        return self.ready >= self._frame_messages

    def put(self, message: Pending) -> None:
        """Queue a message behind the others of its subject."""
        subject = message.subject
        queue = self._queues.get(subject)
        if queue is None:
            queue = self._queues[subject] = _Queue()
        if not queue.held:
            if not queue.messages:
                self._free.append(subject)
            self.ready += 1
        queue.messages.append(message)

    def compose(self, most: int | None = None) -> Frame | None:
        """Take the next frame, of at most so many messages; None when nothing may leave.

        Its subjects are held until `release`.
        """
        most = self._frame_messages if most is None else most
        messages: list[Pending] = []
        subjects: list[str] = []
        size = 0
        free = self._free
        full = False
        while free and not full and len(messages) < most:
            queue = self._queues[free[0]]
            waiting = queue.messages
            before = len(messages)
            while waiting and len(messages) < most:
                size += len(waiting[0].part)
                if messages and size > self._frame_bytes:
                    full = True
                    break
                messages.append(waiting.popleft())
            if len(messages) > before:
                queue.held = True
                self.ready -= len(messages) - before + len(waiting)
                subjects.append(free.popleft())
        return Frame(messages, subjects) if messages else None

    def put_back(self, subject: str, messages: Iterable[Pending]) -> None:
        """Queue messages of a held subject again, in their order and before all others of it."""
        self._queues[subject].messages.extendleft(reversed(list(messages)))

    def release(self, subjects: Iterable[str]) -> None:
        """Let the messages of held subjects leave again."""
        for subject in subjects:
            queue = self._queues[subject]
            queue.held = False
            if queue.messages:
                self._free.append(subject)
                self.ready += len(queue.messages)
            else:
                del self._queues[subject]

    def drop(self, message: Pending) -> None:
        """Forget one that waits."""
        subject = message.subject
        queue = self._queues[subject]
        queue.messages.remove(message)
        if not queue.held:
            self.ready -= 1
            if not queue.messages:
                self._free.remove(subject)
                del self._queues[subject]

    def waiting(self, subject: str) -> list[Pending]:
        """Return what waits of one subject."""
        queue = self._queues.get(subject)
        return list(queue.messages) if queue is not None else []
