"""What is kept of one PublishStream."""

from collections import deque

from broker.server.door import Ending, Metadata
from broker.server.quota import Payer


class PublishStream:
    """The frames of one PublishStream that await their answers, which leave in the order in which the frames came."""

    __slots__ = ("ending", "metadata", "payer", "pending", "token")

    def __init__(self, token: int, metadata: Metadata | None, payer: Payer | None) -> None:
        self.token = token
        self.metadata = metadata
        self.payer = payer
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
