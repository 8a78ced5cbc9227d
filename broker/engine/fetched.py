"""A cache of messages that were looked up in the store; those that nobody asked for the longest time go first."""

from collections import OrderedDict

OVERHEAD = 400
"""Bytes that a message costs beside its content and its subject: its entry, the key, numbers."""


class FetchedMessages:
    """Encoded messages by subject and id, bounded by bytes. Messages never change, they only expire."""

    def __init__(self, limit_bytes: int) -> None:
        self.bytes = 0
        self._limit = limit_bytes
        self._messages: OrderedDict[tuple[str, int], tuple[bytes, int]] = OrderedDict()

    def find(self, subject: str, message_id: int, now: int) -> bytes | None:
        """Return a message that is here and has not expired."""
        key = subject, message_id
        known = self._messages.get(key)
        if known is None:
            return None
        encoded, expires_at = known
        if expires_at <= now:
            self._forget(key)
            return None
        self._messages.move_to_end(key)
        return encoded

    def add(self, subject: str, message_id: int, encoded: bytes, expires_at: int) -> None:
        """Keep a message; it may be one that is here already."""
        key = subject, message_id
        if key in self._messages:
            return
        self._messages[key] = encoded, expires_at
        self.bytes += _cost(subject, encoded)
        while self.bytes > self._limit:
            self._forget(next(iter(self._messages)))

    def _forget(self, key: tuple[str, int]) -> None:
        encoded, _ = self._messages.pop(key)
        self.bytes -= _cost(key[0], encoded)


def _cost(subject: str, encoded: bytes) -> int:
    return OVERHEAD + len(subject) + len(encoded)
