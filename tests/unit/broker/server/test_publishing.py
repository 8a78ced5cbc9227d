"""How calls that arrive together are divided among publications."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from broker.server.publishing import PORTION_BYTES, PORTION_CALLS, portions

SIZES = st.lists(st.sampled_from([0, 100, 400_000, PORTION_BYTES, 2 * PORTION_BYTES]), max_size=20)


@given(SIZES, st.integers(1, 300))
def test_portions_are_small_and_leave_nothing_out(sizes: list[int], times: int) -> None:
    bodies = {size: bytes(size) for size in sizes}
    calls = [(token, bodies[size], None) for token, size in enumerate(sizes * times)]
    cut = list(portions(calls))
    assert [call for portion in cut for call in portion] == calls
    for portion in cut:
        size = sum(len(request) for _, request, _ in portion)
        assert len(portion) <= PORTION_CALLS
        assert size <= PORTION_BYTES or len(portion) == 1
    for one, following in pairwise(cut):
        size = sum(len(request) for _, request, _ in [*one, following[0]])
        assert len(one) == PORTION_CALLS or size > PORTION_BYTES, "no smaller than need be"
