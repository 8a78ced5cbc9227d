"""What the door counts, read once for each scrape. Names and labels are the same whichever door is open."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

GAUGES = {
    "connections": "Connections of clients.",
    "calls": "Calls that stand.",
    "uploads": "Calls whose requests are still arriving.",
    "waiting": "Calls that wait to be handed over.",
    "waiting_bytes": "Bytes of requests that wait to be handed over.",
    "queued_bytes": "Bytes that wait for clients to take them.",
}

COUNTERS = {
    "batches": "Lists of arrivals handed over.",
    "calls_cancelled": "Calls whose clients gave up before they were answered.",
    "streams_full": "Times a stream was too slow for more.",
    "received_bytes": "Bytes received, with everything that HTTP/2 adds.",
    "sent_bytes": "Bytes sent, with everything that HTTP/2 adds.",
}

CONNECTIONS = {
    "connections_accepted": "accepted",
    "connections_refused": "refused",
    "connections_dead": "dead",
    "connections_abusive": "abusive",
    "connections_aged": "aged",
    "handshakes_failed": "handshake_failed",
}
"""The events of `broker_door_connection_events_total`."""

REFUSED = "refused_"


class DoorMetrics(Collector):
    """The counters of a door as metrics; what a door does not count has no value.

    Args:
        counters: returns the present numbers by the names above, and as "refused_" with a reason.
    """

    def __init__(self, registry: CollectorRegistry, counters: Callable[[], Mapping[str, int]]) -> None:
        self._counters = counters
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """Tell the registry the names, as it asks at registration."""
        return self._families({})

    def collect(self) -> Iterator[Metric]:
        """Return the present values."""
        return self._families(self._counters())

    def _families(self, counters: Mapping[str, int]) -> Iterator[Metric]:
        for name, text in GAUGES.items():
            yield GaugeMetricFamily(f"broker_door_{name}", text, counters.get(name))
        for name, text in COUNTERS.items():
            yield CounterMetricFamily(f"broker_door_{name}", text, counters.get(name))
        events = CounterMetricFamily("broker_door_connection_events", "What became of connections.", labels=["event"])
        for name, event in CONNECTIONS.items():
            if name in counters:
                events.add_metric([event], counters[name])
        yield events
        refused = CounterMetricFamily("broker_door_refused", "Calls refused by the door itself.", labels=["reason"])
        for name, count in counters.items():
            if name.startswith(REFUSED):
                refused.add_metric([name.removeprefix(REFUSED)], count)
        yield refused
