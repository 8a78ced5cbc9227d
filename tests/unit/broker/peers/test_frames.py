import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2, peers_pb2
from broker.engine.commits import Commit
from broker.peers import frames
from broker.server.wire import encode_messages
from broker.store.contract import NEVER_STORED, NewMessage

HEADERS = broker_pb2.Message(headers={"name": b"value"}).SerializeToString()
MESSAGES = st.lists(
    st.builds(
        NewMessage,
        st.binary(max_size=20),
        st.sampled_from([NEVER_STORED, 100, 10**13]),
        headers=st.sampled_from([b"", HEADERS]),
        key=st.just(b""),
    ),
    min_size=1,
    max_size=5,
)


@given(st.lists(st.tuples(st.sampled_from(["a", "ü" * 100]), st.integers(1, 1 << 40), MESSAGES), max_size=5))
def test_what_is_sent_arrives_however_it_is_joined(sent):
    commits = [Commit.of(subject, first_id, messages, 1_234_567) for subject, first_id, messages in sent]
    data = b"".join(frames.encode_commit(commit, encode_messages) for commit in commits)
    received = list(frames.decode_commits(frames.decode_response(data)))
    assert len(received) == len(commits)
    for commit, copy in zip(commits, received, strict=True):
        assert (copy.subject, copy.first_id, copy.last_id) == (commit.subject, commit.first_id, commit.last_id)
        assert list(copy.expiries) == list(commit.expiries)
        assert copy.published_at == commit.published_at
        assert copy.encoded(encode_messages) == commit.encoded(encode_messages)
        [one] = [broker_pb2.Message.FromString(encoded) for encoded in copy.encoded(encode_messages)[:1]]
        assert (one.id, one.body) == (commit.first_id, commit.messages[0].body)


@pytest.mark.parametrize(
    "commit",
    [
        peers_pb2.Commit(subject="a", first_id=1),
        peers_pb2.Commit(subject="a", first_id=0, expires_at=[1], messages=[b""]),
        peers_pb2.Commit(subject="", first_id=1, expires_at=[1], messages=[b""]),
        peers_pb2.Commit(subject="a", first_id=1, expires_at=[1, 2], messages=[b"", b"", b""]),
        peers_pb2.Commit(subject="a", first_id=1, messages=[b""]),
    ],
)
def test_a_commit_that_makes_no_sense_is_refused(commit):
    with pytest.raises(ValueError, match="makes no sense"):
        list(frames.decode_commits(peers_pb2.FollowResponse(commits=[commit])))


def test_bytes_that_are_no_message_are_refused():
    for decode in (frames.decode_request, frames.decode_response):
        with pytest.raises(ValueError, match="this is no Follow"):
            decode(b"\xff\xff\xff")


def test_what_a_later_release_says_beside_is_passed_over():
    later = peers_pb2.FollowRequest(number=3, add=["a"]).SerializeToString() + b"\xfa\x07\x03new"
    assert list(frames.decode_request(later).add) == ["a"]


def hello(**said: object) -> peers_pb2.Hello:
    return peers_pb2.Hello(**{"version": 2, "oldest_version": 1, "store": "s", "release": "1.0", **said})


def test_who_understands_whom():
    assert frames.refusal(hello(), hello()) == ""
    assert frames.refusal(hello(), hello(version=9, oldest_version=2)) == ""
    assert frames.refusal(hello(), hello(version=1)) == ""
    assert "smaller steps" in frames.refusal(hello(), hello(version=9, oldest_version=3))
    assert "smaller steps" in frames.refusal(hello(oldest_version=2), hello(version=1))
    assert "different databases" in frames.refusal(hello(), hello(store="another"))
