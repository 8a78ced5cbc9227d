import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2 as pb
from broker.errors import InvalidRequest
from broker.server.wire import BATCH, SINGLE, decode, encode_messages, publish_response, varint

IDS = st.integers(1, 2**63 - 1)
TIMES = st.integers(0, 253402300799999)


@given(st.text(max_size=50), IDS, st.lists(st.binary(max_size=300), min_size=1, max_size=5), TIMES)
def test_joined_by_hand_is_what_protobuf_reads(subject, first_id, bodies, published_at):
    first_id = min(first_id, 2**63 - 1 - len(bodies))
    encoded = encode_messages(subject, first_id, bodies, published_at)
    assert SINGLE.messages(encoded) == encoded
    batch = pb.MessageBatch.FromString(b"".join(BATCH.messages(encoded)))
    for index, message in enumerate(batch.messages):
        assert message == pb.Message.FromString(encoded[index])
        assert (message.subject, message.id, message.body) == (subject, first_id + index, bodies[index])
        assert message.published_at.ToMilliseconds() == published_at


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1), min_size=1))
def test_frames_of_batches_may_be_joined_end_to_end(frames):
    parts = [BATCH.messages(encode_messages("s", 1, bodies, 0)) for bodies in frames]
    batch = pb.MessageBatch.FromString(b"".join(frame for part in parts for frame in part))
    assert [message.body for message in batch.messages] == [body for bodies in frames for body in bodies]


@given(st.integers(0, 2**63 - 1))
def test_position(message_id):
    assert BATCH.position is not None
    batch = pb.MessageBatch.FromString(
        BATCH.position(message_id) + BATCH.messages(encode_messages("s", 1, [b""], 0))[0]
    )
    assert batch.HasField("position")
    assert batch.position == message_id
    assert len(batch.messages) == 1


@given(IDS)
def test_publish_response(message_id):
    assert pb.PublishResponse.FromString(publish_response(message_id)).id == message_id


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
