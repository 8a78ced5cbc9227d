"""What the nemesis will do follows from its seed, and never leaves nothing that works."""

from itertools import islice

import pytest

from tests.history.faults import KINDS
from tests.history.plan import Shape, Turn, plan

WHOLE = Shape(brokers=3, proxies=2, peers=True, database=True, spare=True)
ALONE = Shape(brokers=1, proxies=2, peers=False, database=False, spare=False)


def turns(seed: str, shape: Shape = WHOLE, count: int = 500) -> list[Turn]:
    return list(islice(plan(seed, shape), count))


def test_the_same_seed_gives_the_same_plan() -> None:
    assert turns("one") == turns("one")
    assert turns("one") != turns("two")


def test_every_kind_comes_before_any_comes_again() -> None:
    done = [step.kind.name for turn in turns("one") for step in turn.steps]
    assert sorted(done[: len(KINDS)]) == sorted(kind.name for kind in KINDS)


def test_nothing_is_broken_that_is_not_there() -> None:
    assert {step.kind.of for turn in turns("one", ALONE) for step in turn.steps} == {"broker", "proxy"}


@pytest.mark.parametrize("seed", range(5))
def test_at_most_two_things_break_at_once_and_something_is_left(seed: int) -> None:
    for turn in turns(str(seed)):
        struck = [(step.kind.of, step.target) for step in turn.steps]
        assert 1 <= len(struck) <= 2
        assert len({kind for kind, _ in struck if kind != "broker"}) == len(
            [1 for kind, _ in struck if kind != "broker"]
        )
        assert len(set(struck)) == len(struck)
        for step in turn.steps:
            assert step.kind.shortest <= step.duration <= step.kind.longest
            assert 0 <= step.target < (WHOLE.proxies if step.kind.of == "proxy" else WHOLE.brokers)


def test_one_broker_is_never_struck_twice_at_once() -> None:
    assert all(
        [step.kind.of for step in turn.steps].count("broker") < 2 for turn in turns("one", ALONE) for step in turn.steps
    )
