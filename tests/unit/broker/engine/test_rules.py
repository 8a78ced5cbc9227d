import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.engine.rules import Limits, Rules
from broker.errors import InvalidRequest

LIMITS = Limits(max_body=10, max_expiration=60, max_batch_messages=3)


def reason(subject: str = "s", body: bytes = b"", expiration: int = 0) -> str:
    try:
        Rules(LIMITS).check_message(subject, body, expiration)
    except InvalidRequest as error:
        return error.reason if error.message and error.metadata["field"] else "SAYS TOO LITTLE"
    return "OK"


@pytest.mark.parametrize("subject", ["a", "a.b/c d", "é" * 127, "x" * 255, "*", "日本"])
def test_good_subjects(subject):
    assert reason(subject) == "OK"


@pytest.mark.parametrize("subject", ["", "x" * 256, "é" * 128, "a\nb", "\0", "a\x7f", "\x85"])
def test_bad_subjects(subject):
    assert reason(subject) == "SUBJECT_INVALID"


@given(st.text())
def test_a_subject_is_good_exactly_when_the_rule_says_so(subject):
    good = 1 <= len(subject.encode(errors="replace")) <= 255
    good = good and not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in subject)
    rules = Rules(LIMITS)
    for _ in range(2):  # remembered subjects give the same answer
        try:
            rules.check_subject(subject)
        except InvalidRequest:
            assert not good
        else:
            assert good


def test_bounds_of_body_and_expiration():
    assert reason(body=b"x" * 10) == "OK"
    assert reason(body=b"x" * 11) == "BODY_TOO_LARGE"
    assert reason(expiration=60) == "OK"
    assert reason(expiration=61) == "EXPIRATION_TOO_LONG"
    assert reason(expiration=-1) == "EXPIRATION_NEGATIVE"


def test_bounds_of_keys_and_headers():
    rules = Rules(Limits(max_headers=10))
    rules.check_key(bytes(255))
    with pytest.raises(InvalidRequest, match="256 bytes: at most 255") as too_long:
        rules.check_key(bytes(256))
    assert too_long.value.reason == "MESSAGE_KEY_TOO_LONG"
    rules.check_headers({"é": bytes(7), "x": b""})
    with pytest.raises(InvalidRequest, match="11 bytes: this broker takes at most 10") as too_large:
        rules.check_headers({"é": bytes(8), "x": b""})
    assert too_large.value.reason == "HEADERS_TOO_LARGE"


def test_bound_of_a_frame():
    rules = Rules(LIMITS)
    rules.check_batch(3)
    with pytest.raises(InvalidRequest, match="at most 3"):
        rules.check_batch(4)


def test_remembered_subjects_are_bounded():
    rules = Rules(LIMITS)
    for number in range(25_000):
        rules.check_subject(f"subject-{number}")
    assert len(rules._good_subjects) <= 10_000
