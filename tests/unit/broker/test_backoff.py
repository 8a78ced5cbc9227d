from itertools import pairwise

from broker.backoff import Backoff


def test_waits_grow_to_the_longest_and_never_vanish() -> None:
    backoff = Backoff(first=1, longest=100)
    waits = [backoff.next() for _ in range(2000)]
    assert all(2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits[:6]))
    assert all(50 <= wait <= 100 for wait in waits[8:])
    assert len(set(waits[8:])) > 1000, "no jitter"
    assert all(after <= 4 * before for before, after in pairwise(waits))


def test_what_the_other_side_asks_for_comes_on_top() -> None:
    assert all(7 + 0.5 <= Backoff(first=1, longest=100).next(at_least=7) <= 7 + 1 for _ in range(100))


def test_it_starts_again() -> None:
    backoff = Backoff(first=1, longest=100)
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 1
