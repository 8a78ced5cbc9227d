"""Messages as columns: what databases take in batches, made without a step of Python for each message."""

from collections.abc import Sequence
from typing import NamedTuple

from broker.store.contract import NewMessage


class Columns(NamedTuple):
    """The fields of NewMessage, each for all messages."""

    bodies: Sequence[bytes]
    expiries: Sequence[int]
    headers: Sequence[bytes]
    keys: Sequence[bytes]


def columns_of(messages: Sequence[NewMessage]) -> Columns:
    """Return the columns of messages, of which there is at least one."""
    return Columns._make(zip(*messages, strict=True))
