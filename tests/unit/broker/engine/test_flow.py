"""One subject's commits in order, from whatever arrives."""

from hypothesis import given
from hypothesis import strategies as st

from broker.engine import flow as flow_module
from broker.engine.commits import Commit
from broker.engine.flow import Flow
from broker.store.contract import NewMessage


def commit(first_id: int, count: int = 1) -> Commit:
    messages = [NewMessage(b"%d" % message_id, 100) for message_id in range(first_id, first_id + count)]
    return Commit.of("a", first_id, messages, 1)


def bodies(commits: list[Commit]) -> list[int]:
    return [int(message.body) for one in commits for message in one.messages]


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=20).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.lists(st.integers(0, len(sizes) - 1), max_size=60))
    ),
    st.integers(0, 40),
    st.integers(0, 60),
)
def test_whatever_arrives_is_passed_on_in_order_without_holes_each_once(arrivals, begin, begin_at):
    sizes, order = arrivals
    commits = [commit(1 + sum(sizes[:index]), size) for index, size in enumerate(sizes)]
    flow, passed = Flow(), []
    for number, index in enumerate(order):
        if number == begin_at:
            passed += flow.begin(begin)
        passed += flow.take(commits[index])
    passed += flow.begin(begin)
    ids = bodies(passed)
    assert ids == list(range(begin + 1, begin + 1 + len(ids)))
    assert flow.head == begin + len(ids)
    arrived = {message_id for index in order for message_id in bodies([commits[index]])}
    assert flow.missing == max(0, max(arrived, default=0) - flow.head)
    assert begin + len(ids) + 1 not in arrived
    # What is missing is skipped, in steps: all that arrived above it comes out.
    while flow.missing:
        passed += flow.skip_to(flow.gap_ends)
    assert set(bodies(passed)) == {message_id for message_id in arrived if message_id > begin}
    assert bodies(passed) == sorted(bodies(passed))
    assert flow.early_messages == flow.early_bytes == 0


def test_what_waits_is_bounded_and_still_expected(monkeypatch):
    monkeypatch.setattr(flow_module, "MAX_EARLY_MESSAGES", 3)
    flow = Flow()
    flow.begin(0)
    for first_id in (2, 4, 6):
        assert flow.take(commit(first_id, 2)) == []
    assert flow.early_messages == 2
    assert flow.missing == 7
    assert bodies(flow.take(commit(1))) == [1, 2, 3]
    assert flow.gap_ends == 7


def test_a_last_id_that_is_told_is_expected():
    flow = Flow()
    assert flow.missing == 0
    flow.expect(5)
    assert flow.missing == 0
    flow.begin(3)
    assert flow.missing == 2
    assert bodies(flow.take(commit(3, 3))) == [4, 5]
