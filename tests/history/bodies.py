"""Bodies and headers that say which message they belong to, and whether they came whole."""

from collections.abc import Mapping

from tests.history.events import NOT_OURS


def body(message: int) -> bytes:
    """Return the body of a message: its number, and up to 25 KiB that follow from it."""
    mark = (message * 2_654_435_761) & 0xFFFF_FFFF
    repeated = 3_000 if message % 50 == 0 else message % 25
    return b"%d:" % message + b"%08x" % mark * repeated


def headers(message: int) -> dict[str, bytes]:
    """Return the headers of a message; most have none."""
    return {"number": b"%d" % message, "empty": b""} if message % 3 == 0 else {}


def message_of(data: bytes, found: Mapping[str, bytes]) -> int:
    """Return the number of the message with this body and these headers; NOT_OURS when they are no message's."""
    number, _, _ = data.partition(b":")
    if not number.isdigit() or data != body(int(number)) or dict(found) != headers(int(number)):
        return NOT_OURS
    return int(number)
