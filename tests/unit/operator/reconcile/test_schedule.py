"""When passes are due: a model of the clockwork, driven by arbitrary histories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_operator.reconcile.schedule import Backoff, Outcome, Pace, Result, Schedule

PACE = Pace(resync=300, resync_spread=0.2, debounce=0.1, backoff_first=1, backoff_limit=300)
SYNCED, FAILED, INVALID = Outcome(Result.SYNCED), Outcome(Result.FAILED), Outcome(Result.INVALID)


def after(schedule: Schedule, now: float, outcome: Outcome) -> float:
    """Seconds from the end of a pass to the next."""
    schedule.start()
    schedule.finish(now, outcome)
    return schedule.due - now


def test_success_waits_for_the_resync_with_jitter() -> None:
    schedule = Schedule(PACE, due=0)
    delays = [after(schedule, 0, SYNCED) for _ in range(50)]
    assert all(240 <= delay <= 360 for delay in delays)
    assert len(set(delays)) > 40


def test_a_pass_may_ask_to_look_again_sooner_but_not_later() -> None:
    schedule = Schedule(PACE, due=0)
    assert 8 <= after(schedule, 0, Outcome(Result.SYNCED, look_again=10)) <= 12
    assert 240 <= after(schedule, 0, Outcome(Result.SYNCED, look_again=1000)) <= 360


def test_failures_back_off_up_to_the_limit_and_a_success_resets() -> None:
    schedule = Schedule(PACE, due=0)
    for failure in range(20):
        ceiling = min(300, 2**failure)
        assert ceiling / 2 <= after(schedule, 0, FAILED) <= ceiling
    after(schedule, 0, SYNCED)
    assert after(schedule, 0, FAILED) <= 1


def test_a_new_version_ends_the_back_off_and_other_news_does_not() -> None:
    schedule = Schedule(PACE, due=0)
    schedule.wake(0, version=("uid", 1))
    for _ in range(10):
        after(schedule, 0, FAILED)
    due = schedule.due
    schedule.wake(1)
    schedule.wake(1, version=("uid", 1))
    assert schedule.due == due
    schedule.wake(1, version=("uid", 2))
    assert schedule.due == pytest.approx(1.1)


def test_a_new_version_during_a_failing_pass_gets_a_pass_of_its_own() -> None:
    schedule = Schedule(PACE, due=0)
    for _ in range(5):
        after(schedule, 0, FAILED)
    schedule.start()
    schedule.wake(0, version=("uid", 2))
    schedule.finish(0, FAILED)
    assert schedule.due == pytest.approx(0.1)
    assert after(schedule, 1, FAILED) <= 1, "and starts a back-off of its own"


def test_a_user_s_mistake_is_not_retried_before_the_resync() -> None:
    schedule = Schedule(PACE, due=0)
    assert after(schedule, 0, INVALID) >= 240


def test_the_api_server_s_wish_to_wait_is_respected() -> None:
    schedule = Schedule(PACE, due=0)
    assert after(schedule, 0, Outcome(Result.FAILED, retry_after=42)) == 42


@given(st.integers(min_value=0, max_value=2000))
def test_the_back_off_stays_in_its_bounds(failures: int) -> None:
    backoff = Backoff(first=1, limit=300)
    for _ in range(failures):
        backoff.next()
    assert 0.5 <= backoff.next() <= 300


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wake"), st.integers(0, 3) | st.none()),
        st.tuples(st.just("start"), st.none()),
        st.tuples(st.just("finish"), st.sampled_from([SYNCED, FAILED, INVALID])),
    ),
    max_size=40,
)


@given(steps)
def test_no_news_is_ever_lost(history: list[tuple[str, object]]) -> None:
    """After any history, a pass that starts after the last wake-up is due: at once, or when the back-off ends."""
    schedule, now, running, unseen, failing = Schedule(PACE, due=0), 0.0, False, True, False
    for action, detail in history:
        now += 0.01
        if action == "wake":
            schedule.wake(now, detail)  # type: ignore[arg-type]
            unseen = True
        elif action == "start" and not running:
            schedule.start()
            running, unseen = True, False
        elif action == "finish" and running:
            assert isinstance(detail, Outcome)
            schedule.finish(now, detail)
            running, failing = False, detail is FAILED
    if running:
        assert schedule.woken == unseen
    elif unseen:
        assert schedule.due <= now + (300 if failing else PACE.debounce)
    assert schedule.due <= now + 360
