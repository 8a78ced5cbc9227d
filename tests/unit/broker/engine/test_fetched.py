import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from broker.engine import fetched as fetched_module
from broker.engine.fetched import OVERHEAD, FetchedMessages

ONE = OVERHEAD + 1 + 10


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 8)), max_size=60), st.integers(0, 5))
def test_those_asked_for_last_are_here_and_no_others(steps, room):
    fetched = FetchedMessages(room * ONE)
    newest_last: list[int] = []
    for looks, message_id in steps:
        known = message_id in newest_last
        if looks:
            assert (fetched.find("a", message_id, now=0) is not None) == known
            if known:
                newest_last.remove(message_id)
                newest_last.append(message_id)
        elif not known:
            fetched.add("a", message_id, b"0123456789", expires_at=100)
            newest_last = [*newest_last, message_id][-room:] if room else []
        else:
            fetched.add("a", message_id, b"0123456789", expires_at=100)
        assert fetched.bytes == len(newest_last) * ONE <= room * ONE


def test_what_has_expired_is_gone():
    fetched = FetchedMessages(1 << 20)
    fetched.add("a", 1, b"body", expires_at=100)
    assert fetched.find("a", 1, now=99) == b"body"
    assert fetched.find("a", 1, now=100) is None
    assert fetched.bytes == 0


def test_the_stated_overhead_covers_what_python_really_takes():
    fetched = FetchedMessages(1 << 30)
    tracemalloc.start()
    try:
        for number in range(5000):
            fetched.add(f"subject-{number:06d}", 10**6 + number, b"%0100d" % number, 10**12 + number)
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    here = [tracemalloc.Filter(True, name) for name in (__file__, fetched_module.__file__)]
    taken = sum(trace.size for trace in snapshot.filter_traces(here).traces)
    assert 0.5 * fetched.bytes < taken < 1.05 * fetched.bytes
