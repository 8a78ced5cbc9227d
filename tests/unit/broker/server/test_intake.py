"""What is published of requests, against looking at each by itself."""

from hypothesis import given
from hypothesis import strategies as st

from broker.api.broker_pb2 import PublishRequest
from broker.engine.rules import Limits, Rules
from broker.errors import Refused
from broker.server.intake import take
from broker.server.wire import encode_headers
from broker.store import NEVER_STORED

NOW = 5000
HEADERS = st.dictionaries(st.sampled_from("ab"), st.binary(max_size=4), max_size=2)
REQUESTS = st.lists(
    st.builds(
        PublishRequest,
        subject=st.sampled_from(["a", "a", "a", "b", "", "x\n"]),
        body=st.binary(max_size=6),
        expirationSeconds=st.sampled_from([0, 1, 2, 2, 3, -1]),
        message_key=st.sampled_from([b"", b"", b"k", b"k" * 256]),
        headers=HEADERS,
    ),
    max_size=8,
)


def one_by_one(requests, rules):
    good, refused = [], []
    for place, request in enumerate(requests):
        try:
            rules.check_message(request.subject, request.body, request.expirationSeconds)
            rules.check_key(request.message_key)
            rules.check_headers(request.headers)
        except Refused as error:
            refused.append((place, error.reason, error.message))
        else:
            good.append((place, request))
    return good, refused


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.sampled_from([0, 60]))
def test_good_requests_are_taken_in_order_and_each_bad_one_has_its_own_error(frames, window):
    limits = Limits(max_body=5, max_expiration=2, max_headers=6, deduplication_window=window)
    rules = Rules(limits)
    for requests in frames:  # subjects become known
        taken = take(requests, rules, NOW)
        good, refused = one_by_one(requests, Rules(limits))
        assert [(place, error.reason, error.message) for place, error in taken.refused] == refused
        assert list(taken.places) == [place for place, _ in good]
        assert list(taken.order) == [request.subject for _, request in good]
        for subject, messages in taken.parts.items():
            assert [tuple(message) for message in messages] == [
                (
                    request.body,
                    NOW + 1000 * request.expirationSeconds if request.expirationSeconds else NEVER_STORED,
                    encode_headers(request.headers),
                    request.message_key if window else b"",
                )
                for _, request in good
                if request.subject == subject
            ]
        assert set(taken.parts) == set(taken.order)


def test_headers_may_be_just_as_large_as_the_limit_says():
    rules = Rules(Limits(max_headers=10))
    requests = [PublishRequest(subject="a", headers={"12": bytes(size)}) for size in (8, 9)]
    taken = take(requests, rules, NOW)
    assert [(place, error.reason) for place, error in taken.refused] == [(1, "HEADERS_TOO_LARGE")]
