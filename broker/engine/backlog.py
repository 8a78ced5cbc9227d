"""What waits for the store, bounded in messages and bytes."""

from broker.engine.rules import Limits
from broker.errors import QUEUE_FULL_FOR, LimitReached
from broker.telemetry.metrics import Metrics


class Backlog:
    """Counts what all writers together have not committed yet."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._max_messages = limits.max_queue_messages
        self._max_bytes = limits.max_queue_bytes
        self.messages = 0
        """How many wait."""
        self._bytes = 0
        metrics.sampled(metrics.queue_messages, lambda: self.messages)
        metrics.sampled(metrics.queue_bytes, lambda: self._bytes)

    def take(self, messages: int, size: int) -> None:
        """Count messages that begin to wait; `size` is in bytes. Where nothing waits, any may.

        Raises:
            LimitReached: PUBLISH_QUEUE_FULL; nothing was counted.
        """
        if self.messages and self.messages + messages > self._max_messages:
            raise _full("messages", self._max_messages)
        if self.messages and self._bytes + size > self._max_bytes:
            raise _full("bytes", self._max_bytes)
        self.messages += messages
        self._bytes += size

    def release(self, messages: int, size: int) -> None:
        """Count messages that wait no longer."""
        self.messages -= messages
        self._bytes -= size


def _full(what: str, limit: int) -> LimitReached:
    text = f"more than {limit} {what} wait for the store: try again later, or publish more slowly"
    metadata = {"limit": f"max-queue-{what}", "value": str(limit)}
    return LimitReached("PUBLISH_QUEUE_FULL", text, metadata, retry_after=QUEUE_FULL_FOR)
