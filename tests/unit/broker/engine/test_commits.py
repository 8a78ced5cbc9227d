import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.engine import commits as commits_module
from broker.engine.commits import Commit, RecentCommits
from broker.server import wire as wire_module
from broker.server.wire import encode_messages
from broker.store import columns as columns_module
from broker.store.contract import NEVER_STORED, NewMessage


def encode(subject, first_id, messages, published_at):
    return [f"{subject}/{first_id + n}".encode() for n, _ in enumerate(messages)]


def commit(subject: str, first_id: int, count: int, expires_at: int = 100) -> Commit:
    return Commit.of(subject, first_id, [NewMessage(b"x" * 10, expires_at)] * count, 1)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5)), max_size=60), st.integers(0, 20_000))
def test_what_is_remembered_of_a_subject_is_its_newest_messages_without_a_hole(sizes, limit):
    recent = RecentCommits(limit)
    last = {"a": 0, "b": 0}
    for subject, count in sizes:
        recent.add(commit(subject, last[subject] + 1, count))
        last[subject] += count
    assert recent.bytes <= limit
    for subject, last_id in last.items():
        first = recent.first_id(subject)
        assert recent.last_id(subject) == (last_id if first is not None else 0)
        for message_id in range(last_id + 2):
            found = recent.find(subject, message_id)
            assert (found is not None) == (first is not None and first <= message_id <= last_id)
            if found is not None:
                assert found.first_id <= message_id <= found.last_id
                assert found.encoded_one(message_id, encode) == f"{subject}/{message_id}".encode()
            after = recent.after(subject, message_id)
            if first is None or message_id + 1 < first:
                assert after is None
            else:
                ids = [n for c in after for n in range(c.first_id, c.last_id + 1) if n > message_id]
                assert ids == list(range(message_id + 1, last_id + 1))


def test_a_limit_of_zero_remembers_nothing():
    recent = RecentCommits(0)
    recent.add(commit("a", 1, 3))
    assert recent.find("a", 1) is None
    assert recent.bytes == 0


def test_what_is_forgotten_counts_no_more():
    recent = RecentCommits(3000)
    for number in range(50):
        recent.add(commit(f"subject-{number % 7}", 1 + number // 7, 1))
        assert recent.bytes <= 3000
    recent.add(commit("large", 1, 100))
    assert recent.bytes == 0


@pytest.mark.parametrize("extras", [False, True], ids=["plain", "with headers and keys"])
@pytest.mark.parametrize(("subjects", "commits", "messages"), [(2000, 1, 1), (1, 2000, 1), (1, 1, 5000), (100, 10, 5)])
def test_the_stated_overheads_cover_what_python_really_takes(subjects, commits, messages, extras):
    recent = RecentCommits(1 << 40)
    tracemalloc.start()
    try:
        made = [
            Commit.of(
                f"subject-{subject:06d}",
                1 + number * messages,
                [
                    NewMessage(b"%020d" % m, 10**12 + m, *([b"%030d" % m, b"%016d" % m] if extras else []))
                    for m in range(messages)
                ],
                10**12 + number,
            )
            for subject in range(subjects)
            for number in range(commits)
        ]
        for one in made:
            recent.add(one)
            one.encoded(encode_messages)
        del made
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    # Threads that other tests left behind take memory as well, elsewhere.
    here = [
        tracemalloc.Filter(True, name)
        for name in (__file__, columns_module.__file__, commits_module.__file__, wire_module.__file__)
    ]
    taken = sum(trace.size for trace in snapshot.filter_traces(here).traces)
    assert 0.5 * recent.bytes < taken < 1.05 * recent.bytes


def test_late_subscribers_get_what_is_not_expired_and_the_transient_messages_of_their_time():
    messages = [NewMessage(b"", 50), NewMessage(b"", NEVER_STORED), NewMessage(b"", 100), NewMessage(b"", NEVER_STORED)]
    late = Commit.of("a", 11, messages, 1)
    assert late.for_late(10, stood_after=12, now=60, encode=encode) == ([13, 14], [b"a/13", b"a/14"])
    assert late.for_late(10, stood_after=10, now=10, encode=encode)[0] == [11, 12, 13, 14]
    assert late.for_late(12, stood_after=20, now=10, encode=encode)[0] == [13]


def test_what_another_replica_committed_in_between_is_not_found():
    recent = RecentCommits(1 << 20)
    ours = [Commit.of("a", first_id, [NewMessage(b"x", 10**12)] * 2, 0) for first_id in (1, 6)]
    for commit in ours:
        recent.add(commit)
    assert [recent.find("a", message_id) for message_id in range(1, 8)] == [
        *(ours[0], ours[0], None, None, None, ours[1], ours[1])
    ]
