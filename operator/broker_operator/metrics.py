"""Every metric of the operator, declared in one place."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)


class Metrics:
    """The operator's metrics, on a registry of their own."""

    def __init__(self, version: str) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.passes = Counter(
            "broker_operator_reconcile", "Passes over a BrokerCluster, by result", ["result"], registry=registry
        )
        self.duration = Histogram(
            "broker_operator_reconcile_duration_seconds",
            "Time one pass takes",
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self.waiting = Gauge("broker_operator_queue_depth", "Passes that wait for a slot", registry=registry)
        self.workers = Gauge("broker_operator_clusters", "BrokerClusters this operator looks after", registry=registry)
        self.leader = Gauge("broker_operator_leader", "1 while this replica leads", registry=registry)
        self._condition = Gauge(
            "broker_operator_condition",
            "Status of a BrokerCluster's condition: 1 True, 0 False, -1 Unknown",
            ["namespace", "name", "type"],
            registry=registry,
        )
        self._types: dict[tuple[str, str], set[str]] = {}
        Gauge("broker_operator_info", "Which operator this is", ["version"], registry=registry).labels(version).set(1)

    def conditions(self, namespace: str, name: str, statuses: Mapping[str, str]) -> None:
        """Show the conditions of one BrokerCluster: type to True, False or Unknown."""
        for gone in self._types.get((namespace, name), set()) - set(statuses):
            self._condition.remove(namespace, name, gone)
        for type_, status in statuses.items():
            value = {"True": 1, "False": 0}.get(status, -1)
            self._condition.labels(namespace, name, type_).set(value)
        self._types[namespace, name] = set(statuses)

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a BrokerCluster that no longer exists."""
        for type_ in self._types.pop((namespace, name), set()):
            self._condition.remove(namespace, name, type_)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
