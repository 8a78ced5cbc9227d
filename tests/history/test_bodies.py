"""A body and its headers tell their message, or that they are not whole."""

import pytest

from tests.history.bodies import body, headers, message_of
from tests.history.events import NOT_OURS


@pytest.mark.parametrize("message", [1, 2, 3, 50, 150, 1_000_000])
def test_what_came_whole_tells_its_message(message: int) -> None:
    assert message_of(body(message), headers(message)) == message


@pytest.mark.parametrize("message", [3, 50, 151])
def test_what_was_damaged_tells_none(message: int) -> None:
    whole = body(message)
    for data in (whole[:-1], whole + b"0", whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"x", body(message + 1)[:-1]):
        assert message_of(data, headers(message)) == NOT_OURS
    assert message_of(whole, {"another": b""}) == NOT_OURS
    assert message_of(whole, headers(message) | {"more": b""}) == NOT_OURS
