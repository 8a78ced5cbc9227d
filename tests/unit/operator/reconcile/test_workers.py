"""Workers on virtual time: single flight, debounce, no lost wake-up, no leak."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_operator.metrics import Metrics
from broker_operator.reconcile import Key, Outcome, Pace, Result, Workers
from tests.support.virtual_time import run

ORDERS = Key("shop", "orders")
SYNCED, FAILED, GONE = Outcome(Result.SYNCED), Outcome(Result.FAILED), Outcome(Result.GONE)


class Passes:
    """A pass that takes one second and notes when it began."""

    def __init__(self, answer: Callable[[int], Outcome] = lambda _: SYNCED, takes: float = 1.0) -> None:
        self.began: list[tuple[Key, float]] = []
        self.running = 0
        self.most_running: dict[Key | None, int] = {}
        self._now: dict[Key, int] = {}
        self._answer = answer
        self._takes = takes

    async def __call__(self, key: Key) -> Outcome:
        self.began.append((key, asyncio.get_running_loop().time()))
        self._now[key] = self._now.get(key, 0) + 1
        self.running += 1
        self.most_running[key] = max(self.most_running.get(key, 0), self._now[key])
        self.most_running[None] = max(self.most_running.get(None, 0), self.running)
        await asyncio.sleep(self._takes)
        self.running -= 1
        self._now[key] -= 1
        return self._answer(len(self.began))

    @property
    def times(self) -> list[float]:
        return [round(time, 1) for _, time in self.began]


def workers(passes: Passes, concurrency: int = 4) -> Workers:
    return Workers(passes, pace=Pace(), concurrency=concurrency, metrics=Metrics("test"))


def test_a_burst_of_news_makes_one_pass() -> None:
    async def main() -> None:
        passes = Passes()
        pool = workers(passes)
        for _ in range(100):
            pool.wake(ORDERS)
        await asyncio.sleep(10)
        assert passes.times == [0.1]
        await pool.stop()

    run(main())


def test_news_during_a_pass_makes_another_one_after_it() -> None:
    async def main() -> None:
        passes = Passes()
        pool = workers(passes)
        pool.wake(ORDERS)
        await asyncio.sleep(0.5)
        pool.wake(ORDERS)
        await asyncio.sleep(10)
        assert passes.times == [0.1, 1.2]
        assert passes.most_running[ORDERS] == 1
        await pool.stop()

    run(main())


def test_an_idle_object_is_looked_at_every_five_minutes_or_so() -> None:
    async def main() -> None:
        passes = Passes()
        pool = workers(passes)
        pool.wake(ORDERS)
        await asyncio.sleep(3600)
        gaps = [after - before for before, after in zip(passes.times, passes.times[1:], strict=False)]
        assert len(gaps) >= 9
        assert all(240 <= gap <= 362 for gap in gaps)
        await pool.stop()

    run(main())


def test_a_failing_object_backs_off_until_its_spec_changes() -> None:
    async def main() -> None:
        passes = Passes(lambda _: FAILED)
        pool = workers(passes)
        pool.wake(ORDERS, version=1)
        await asyncio.sleep(600)
        assert 5 <= len(passes.began) <= 12
        # Behind the next pass, so that the one after it is minutes away.
        before = len(passes.began) + 1
        while len(passes.began) < before or passes.running:
            await asyncio.sleep(1)
        pool.wake(ORDERS)
        await asyncio.sleep(0.2)
        assert len(passes.began) == before
        pool.wake(ORDERS, version=2)
        await asyncio.sleep(0.2)
        assert len(passes.began) == before + 1
        await pool.stop()

    run(main())


def test_an_error_nobody_thought_of_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    def answer(number: int) -> Outcome:
        if number == 1:
            raise ZeroDivisionError
        return SYNCED

    async def main() -> None:
        passes = Passes(answer)
        pool = workers(passes)
        pool.wake(ORDERS)
        await asyncio.sleep(10)
        assert len(passes.began) == 2
        await pool.stop()

    run(main())
    assert "ZeroDivisionError" in caplog.text


def test_a_worker_whose_object_is_gone_is_freed() -> None:
    async def main() -> None:
        passes = Passes(lambda _: GONE)
        pool = workers(passes)
        pool.wake(ORDERS)
        await asyncio.sleep(5)
        assert len(pool) == 0
        assert len(asyncio.all_tasks()) == 1
        pool.wake(ORDERS)
        await asyncio.sleep(5)
        assert len(passes.began) == 2, "an object of the same name is a new object"
        await pool.stop()

    run(main())


def test_an_object_that_is_made_again_while_its_end_is_noticed_is_not_forgotten() -> None:
    async def main() -> None:
        passes = Passes(lambda number: GONE if number == 1 else SYNCED)
        pool = workers(passes)
        pool.wake(ORDERS)
        await asyncio.sleep(0.5)
        pool.wake(ORDERS, version="made again")
        await asyncio.sleep(5)
        assert len(passes.began) == 2
        assert ORDERS in pool
        await pool.stop()

    run(main())


def test_only_so_many_passes_run_at_once_and_all_get_their_turn() -> None:
    async def main() -> None:
        passes = Passes()
        pool = workers(passes, concurrency=3)
        keys = [Key("shop", f"cluster-{number}") for number in range(20)]
        for key in keys:
            pool.wake(key)
        await asyncio.sleep(30)
        assert passes.most_running[None] == 3
        assert {key for key, _ in passes.began} == set(keys)
        await pool.stop()

    run(main())


def test_stopping_ends_every_task() -> None:
    async def main() -> None:
        pool = workers(Passes(takes=1000))
        for number in range(10):
            pool.wake(Key("shop", f"cluster-{number}"))
        await asyncio.sleep(5)
        await pool.stop()
        pool.wake(ORDERS)  # news may come late
        assert len(pool) == 0
        assert len(asyncio.all_tasks()) == 1

    run(main())


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 2)), min_size=1, max_size=30),
    st.lists(st.sampled_from([SYNCED, FAILED, GONE, Outcome(Result.INVALID)]), max_size=20),
    st.floats(0.001, 3),
)
def test_every_wake_up_is_followed_by_a_pass_that_begins_after_it(
    wakes: Sequence[tuple[float, int]], answers: Sequence[Outcome], takes: float
) -> None:
    async def main() -> None:
        passes = Passes(lambda number: answers[number - 1] if number <= len(answers) else SYNCED, takes)
        pool = workers(passes, concurrency=2)
        last: dict[Key, float] = {}
        for pause, number in wakes:
            await asyncio.sleep(pause)
            key = Key("shop", f"cluster-{number}")
            pool.wake(key)
            last[key] = asyncio.get_running_loop().time()
        await asyncio.sleep(2000)
        for key, time in last.items():
            assert any(began >= time for who, began in passes.began if who == key)
            assert passes.most_running[key] == 1
        await pool.stop()

    run(main())
