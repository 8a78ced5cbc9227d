"""Limits per subject, enforced by the proxies without help from clients."""

import pytest

from tests.e2e.conftest import Start
from tests.e2e.installed import Client, Cluster
from tests.e2e.kubectl import eventually


def rules(requests: int) -> dict[str, object]:
    """So many requests an hour for each subject, so that nothing refills while a test looks."""
    limit = {"requests": requests, "unit": "Hour"}
    return {"rules": [{"name": "each-subject", "subject": {"type": "Distinct"}, "limit": limit}]}


@pytest.fixture(scope="module")
def limited(start: Start) -> Cluster:
    return start("limited", {"storage": {"type": "Memory"}, "proxy": {"rateLimit": rules(10)}})


def test_too_many_calls_on_a_subject_are_refused_and_others_are_not_touched(limited: Cluster, client: Client) -> None:
    assert client.run("burst", limited.address, "busy", "25") == {
        "OK": 10,
        "RESOURCE_EXHAUSTED RATE_LIMITED": 15,
    }
    assert client.run("burst", limited.address, "quiet", "10") == {"OK": 10}


def test_a_stream_is_no_way_around_a_limit(limited: Cluster, client: Client) -> None:
    answers = client.run("flood", limited.address, "streamed", "25")
    assert answers["OK"] <= 10
    assert sum(answers.values()) == 25
    assert set(answers) <= {"OK", "RESOURCE_EXHAUSTED RATE_LIMITED"}


def test_a_changed_limit_reaches_the_running_proxies(limited: Cluster, client: Client) -> None:
    before = [pod["metadata"]["uid"] for pod in limited.pods("proxy")]
    limited.patch({"proxy": {"rateLimit": rules(20)}})
    attempts = iter(range(1000))
    # A subject that nobody has used has a full bucket: its size is the limit.
    eventually(
        lambda: client.run("burst", limited.address, f"new-{next(attempts)}", "25")["OK"] == 20,
        "the proxies allow 20 calls",
        seconds=180,  # the kubelet may look at ConfigMaps once a minute
    )
    assert [pod["metadata"]["uid"] for pod in limited.pods("proxy")] == before
