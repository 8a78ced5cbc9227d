"""The cheap instruments say what prometheus-client's own would say."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from broker.telemetry.instruments import Counters, Histograms

BOUNDS = (0.5, 1, 2.5)


def exposed(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if "_created" not in line)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5))),
    st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.sampled_from(BOUNDS), st.floats(0, 4)), st.integers(1, 3))),
)
def test_they_expose_the_same(counts, observations):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counters, histograms = Counters("c", "help", ["x"], ours), Histograms("h", "help", ["x"], BOUNDS, ours)
    counter = Counter("c", "help", ["x"], registry=theirs)
    histogram = Histogram("h", "help", ["x"], buckets=BOUNDS, registry=theirs)
    for label, amount in counts:
        counters.labels(label).inc(amount)
        counter.labels(label).inc(amount)
    for label, value, times in observations:
        # Whole quarters add up to the same sum in whatever order.
        value = value if value in BOUNDS else int(value * 4) / 4
        histograms.labels(label).observe(value, times)
        for _ in range(times):
            histogram.labels(label).observe(value)
    assert exposed(ours) == exposed(theirs)


def test_a_child_is_there_from_its_first_mention():
    registry = CollectorRegistry()
    Counters("c", "help", [], registry).labels()
    Histograms("h", "help", [], BOUNDS, registry).labels()
    assert registry.get_sample_value("c_total") == 0
    assert registry.get_sample_value("h_bucket", {"le": "2.5"}) == 0


def test_a_timer_observes_once_also_when_something_is_raised():
    distribution = Histograms("h", "help", [], BOUNDS, CollectorRegistry()).labels()
    try:
        with distribution.time():
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert sum(distribution.times_by_bucket) == 1
