"""Messages in columns are the sequence of messages that they were made of."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.store import NewMessage, StoredMessage
from broker.store.columns import Columns, columns_of, runs_of

TEXTS = st.sampled_from([b"", b"", b"x", b"yz"])
MESSAGES = st.lists(st.builds(NewMessage, TEXTS, st.integers(0, 3), TEXTS, TEXTS), max_size=8)


@given(MESSAGES, st.data())
def test_columns_are_a_sequence(messages, data):
    columns = columns_of(messages)
    assert columns_of(columns) is columns
    assert list(columns) == messages
    assert len(columns) == len(messages)
    assert [columns[place] for place in range(len(messages))] == messages
    places = data.draw(st.sets(st.integers(0, 8)))
    assert list(columns.without(places)) == [m for place, m in enumerate(messages) if place not in places]
    chosen = [place for place in sorted(places) if place < len(messages)]
    assert list(columns.at(chosen)) == [messages[place] for place in chosen]
    start, stop = sorted(data.draw(st.tuples(st.integers(0, 8), st.integers(0, 8))))
    assert list(columns[start:stop]) == messages[start:stop]
    assert list(columns.anonymous()) == [message._replace(key=b"") for message in messages]
    assert columns.size == sum(len(m.body) + len(m.headers) + len(m.key) for m in messages)


@given(st.lists(MESSAGES, min_size=1, max_size=4))
def test_joined_columns_are_all_messages_in_their_order(parts):
    joined = Columns.joined([columns_of(part) for part in parts])
    assert list(joined) == [message for part in parts for message in part]


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 1), TEXTS), max_size=12))
def test_runs_are_as_long_as_ids_follow_each_other_and_times_are_the_same(steps):
    stored, message_id, time = [], 0, 0
    for gap, pause, headers in steps:
        message_id, time = message_id + gap, time + pause
        stored.append(StoredMessage(message_id, b"%d" % message_id, time, message_id + 100, headers))
    runs = list(runs_of(stored))
    again = [
        StoredMessage(first_id + place, message.body, time, message.expires_at, message.headers)
        for first_id, time, run in runs
        for place, message in enumerate(run)
    ]
    assert again == stored
    for (first_id, time, run), (next_id, next_time, _) in pairwise(runs):
        assert (first_id + len(run), time) != (next_id, next_time)
