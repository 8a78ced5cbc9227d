import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2 as pb
from broker.engine.publication import Duplicate
from broker.errors import InvalidRequest
from broker.server.wire import (
    BATCH,
    SINGLE,
    decode,
    encode_headers,
    encode_messages,
    publish_response,
    publish_responses,
    varint,
    varints,
)
from broker.store import NEVER_STORED, NewMessage

IDS = st.integers(1, 2**63 - 1)
TIMES = st.integers(0, 253402300799999)
HEADERS = st.dictionaries(st.text(max_size=20), st.binary(max_size=200), max_size=4)


def new(body, headers=()):
    return NewMessage(body, NEVER_STORED, encode_headers(dict(headers)))


@given(st.text(max_size=50), IDS, st.lists(st.tuples(st.binary(max_size=300), HEADERS), min_size=1, max_size=5), TIMES)
def test_joined_by_hand_is_what_protobuf_reads(subject, first_id, contents, published_at):
    first_id = min(first_id, 2**63 - 1 - len(contents))
    encoded = encode_messages(subject, first_id, [new(*content) for content in contents], published_at)
    assert SINGLE.messages(encoded) == encoded
    batch = pb.MessageBatch.FromString(b"".join(BATCH.messages(encoded)))
    for index, message in enumerate(batch.messages):
        assert message == pb.Message.FromString(encoded[index])
        assert (message.subject, message.id) == (subject, first_id + index)
        assert (message.body, dict(message.headers)) == contents[index]
        assert message.published_at.ToMilliseconds() == published_at


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1), min_size=1))
def test_frames_of_batches_may_be_joined_end_to_end(frames):
    parts = [BATCH.messages(encode_messages("s", 1, [new(body) for body in bodies], 0)) for bodies in frames]
    batch = pb.MessageBatch.FromString(b"".join(frame for part in parts for frame in part))
    assert [message.body for message in batch.messages] == [body for bodies in frames for body in bodies]


@given(st.integers(0, 2**63 - 1))
def test_position(message_id):
    assert BATCH.position is not None
    batch = pb.MessageBatch.FromString(
        BATCH.position(message_id) + BATCH.messages(encode_messages("s", 1, [new(b"")], 0))[0]
    )
    assert batch.HasField("position")
    assert batch.position == message_id
    assert len(batch.messages) == 1


@given(IDS)
def test_publish_response(message_id):
    assert pb.PublishResponse.FromString(publish_response(message_id)) == pb.PublishResponse(id=message_id)
    again = pb.PublishResponse.FromString(publish_response(Duplicate(message_id)))
    assert again == pb.PublishResponse(id=message_id, duplicate=True)


@given(st.lists(IDS, max_size=5), st.integers(1, 2**40), st.integers(0, 300))
def test_publish_responses_are_those_of_each_one(ids, first_id, count):
    for outcomes in (range(first_id, first_id + count), ids):
        assert publish_responses(outcomes) == [publish_response(message_id) for message_id in outcomes]


@given(st.integers(0, 2**40), st.integers(0, 300))
def test_neighbours_are_encoded_as_each_one_is(first, count):
    assert varints(first, count) == [varint(number) for number in range(first, first + count)]


@given(HEADERS.flatmap(lambda headers: st.tuples(st.just(headers), st.permutations(list(headers.items())))))
def test_headers_have_one_encoding(headers_and_order):
    headers, order = headers_and_order
    assert new(b"", headers) == new(b"", order)
    assert pb.PublishRequest.FromString(new(b"", headers).headers).headers == headers


@given(st.integers(0, 2**64 - 1))
def test_varint_is_the_shortest(number):
    encoded = varint(number)
    assert len(encoded) == max(1, -(-number.bit_length() // 7))
    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(encoded)) == number


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff", b"\x0a\x01\xff", b"garbage"])
def test_malformed_requests_are_named(data):
    with pytest.raises(InvalidRequest, match=r"broker\.PublishRequest") as caught:
        decode(pb.PublishRequest, data)
    assert caught.value.reason == "REQUEST_MALFORMED"
