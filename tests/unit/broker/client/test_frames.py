from hypothesis import given
from hypothesis import strategies as st

from broker.api import broker_pb2
from broker.client.connection import _FRAME_BYTES, _FRAME_MESSAGES, _frames


@given(st.lists(st.sampled_from([0, 100, 5_000, 300_000, 700_000]), max_size=1200))
def test_frames_keep_order_and_bounds(sizes: list[int]) -> None:
    requests = [broker_pb2.PublishRequest(subject="s", body=bytes(size)) for size in sizes]
    frames = list(_frames(requests))
    assert [request for frame in frames for request in frame] == requests
    for frame in frames:
        assert 1 <= len(frame) <= _FRAME_MESSAGES
        assert len(frame) == 1 or sum(request.ByteSize() for request in frame) <= _FRAME_BYTES
