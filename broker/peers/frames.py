"""Commits to the bytes that brokers exchange, and back."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from broker.api import peers_pb2
from broker.engine.commits import Commit
from broker.engine.outlet import Encoder

VERSION = OLDEST_VERSION = 1
"""Of the protocol, as in broker.peers.Hello."""

FOLLOW = "/broker.peers.Peers/Follow"

JOIN_BYTES = 256 << 10
"""What is queued is joined to frames of about this size."""

UNLIMITED = ("grpc.max_receive_message_length", -1)
"""A commit may be as large as the writer makes it."""


def encode_commit(commit: Commit, encode: Encoder) -> bytes:
    """Return a FollowResponse with one commit. Several of them end to end are one response with all their commits."""
    expiries = list(commit.expiries)
    if expiries.count(expiries[0]) == len(expiries):
        expiries = expiries[:1]
    made = peers_pb2.Commit(
        subject=commit.subject,
        first_id=commit.first_id,
        published_at=commit.published_at,
        expires_at=expiries,
        messages=commit.encoded(encode),
    )
    return peers_pb2.FollowResponse(commits=[made]).SerializeToString()


def decode_commits(response: peers_pb2.FollowResponse) -> Iterator[Commit]:
    """Return the commits of a response.

    Raises:
        ValueError: one makes no sense.
    """
    for commit in response.commits:
        messages = list(commit.messages)
        expiries = list(commit.expires_at)
        if len(expiries) == 1:
            expiries *= len(messages)
        if not messages or len(expiries) != len(messages) or commit.first_id < 1 or not commit.subject:
            raise ValueError(f"a commit of {len(messages)} messages with {len(expiries)} expiries makes no sense")
        yield Commit(commit.subject, commit.first_id, expiries, commit.published_at, encoded=messages)


def decode_request(data: bytes) -> peers_pb2.FollowRequest:
    """Return a request.

    Raises:
        ValueError: it is none.
    """
    try:
        return peers_pb2.FollowRequest.FromString(data)
    except DecodeError as error:
        raise ValueError(f"this is no FollowRequest: {error}") from None


def decode_response(data: bytes) -> peers_pb2.FollowResponse:
    """Return a response.

    Raises:
        ValueError: it is none.
    """
    try:
        return peers_pb2.FollowResponse.FromString(data)
    except DecodeError as error:
        raise ValueError(f"this is no FollowResponse: {error}") from None


def refusal(ours: peers_pb2.Hello, theirs: peers_pb2.Hello) -> str:
    """Return why the two sides cannot work together, empty when they can."""
    if theirs.oldest_version > ours.version or ours.oldest_version > theirs.version:
        return (
            f"release {theirs.release} speaks versions {theirs.oldest_version} to {theirs.version} of this protocol,"
            f" release {ours.release} {ours.oldest_version} to {ours.version}: update in smaller steps"
        )
    if theirs.store != ours.store:
        return "the two brokers use different databases: --peers must name the brokers on the same one"
    return ""
