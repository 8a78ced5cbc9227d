"""The memory store's log against a plain list, with chunks small enough to be crossed all the time."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import broker.store.log as log_module
from broker.store.log import MessageLog, Record

IDS = st.integers(0, 60)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(st.integers(1, 3), max_size=8), st.integers(0, 5)),
        st.tuples(st.just("remove"), IDS, st.integers(0, 20)),
    ),
    max_size=20,
)


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_module, "CHUNK", 3)
        yield


@given(steps=STEPS, message_id=IDS, time=IDS)
@settings(max_examples=300, derandomize=True, deadline=None)
def test_it_is_a_sorted_list(steps: list[tuple[str, list[int] | int, int]], message_id: int, time: int) -> None:
    log = MessageLog()
    kept: list[Record] = []
    last_id = now = 0
    for _, what, number in steps:
        if isinstance(what, list):
            now += number
            records: list[Record] = []
            for gap in what:
                last_id += gap
                records.append((last_id, b"", now, 0))
            log.extend(records)
            kept += records
        else:
            gone = [record for record in kept if what <= record[0] <= what + number]
            assert log.remove(what, what + number) == gone
            kept = [record for record in kept if record not in gone]
    assert list(log.after(message_id)) == [record for record in kept if record[0] > message_id]
    assert log.find(message_id) == next((record for record in kept if record[0] == message_id), None)
    assert list(log.published_from(time)) == [record for record in kept if record[2] >= time]
