"""What is kept of one PublishStream."""

from collections import deque

from broker.server.door import Ending
from broker.server.frames import Sender


class PublishStream:
    """The frames of one PublishStream that await their answers, which leave in the order in which the frames came."""

    __slots__ = ("ending", "pending", "sender", "token")

    def __init__(self, token: int, sender: Sender) -> None:
        self.token = token
        self.sender = sender
        self.pending: deque[list[bytes]] = deque()
        self.ending: Ending | None = None

    def expect(self) -> list[bytes]:
        """Return the place for the next frame's response: an empty list."""
        slot: list[bytes] = []
        self.pending.append(slot)
        return slot

    def take_answered(self) -> list[bytes]:
        """Return the responses that may leave now."""
        responses: list[bytes] = []
        while self.pending and self.pending[0]:
            responses += self.pending.popleft()
        return responses
