"""Counters and histograms for one thread, at a tenth of the price.

prometheus-client's take a lock and look for exemplars at each step, since any thread may count. Here only the event
loop counts, with plain numbers; a scrape, on its own thread, reads them and gives them to prometheus-client's registry.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Self

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class Count:
    """A number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add an amount."""
        self.value += amount


class Distribution:
    """How often values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "sum", "times_by_bucket")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.times_by_bucket = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, several times if need be."""
        self.times_by_bucket[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def time(self) -> "Timer":
        """Return a context manager that observes the seconds spent in it."""
        return Timer(self)


class Timer:
    """Observes the seconds between entering and leaving, whatever happens between."""

    __slots__ = ("_began", "_distribution")

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution

    def __enter__(self) -> Self:
        self._began = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._distribution.observe(perf_counter() - self._began)


class Counters(Collector):
    """A counter metric with a child for each combination of its labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._children: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """Return the child with these label values; keep it where it is used often."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Count()
        return child

    def describe(self) -> Iterable[Metric]:
        """Tell the registry the names, as it asks at registration."""
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Return the present values."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, child in list(self._children.items()):
            family.add_metric(values, child.value)
        yield family


class Histograms(Collector):
    """A histogram metric with a child for each combination of its labels."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name, self._text, self._labels, self._bounds = name, text, labels, bounds
        self._children: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def labels(self, *values: str) -> Distribution:
        """Return the child with these label values; keep it where it is used often."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Distribution(self._bounds)
        return child

    def describe(self) -> Iterable[Metric]:
        """Tell the registry the names, as it asks at registration."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Return the present values; the count is that of the buckets, so the two always agree."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]
        for values, child in list(self._children.items()):
            total = 0
            buckets = []
            for name, times in zip(names, list(child.times_by_bucket), strict=True):
                total += times
                buckets.append((name, total))
            family.add_metric(values, buckets, child.sum)
        yield family
