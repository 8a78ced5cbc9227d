"""Counting calls: how many ended with which code, and how long they took."""

from broker.errors import Refused
from broker.server.door import Answer
from broker.server.statuses import OK, code_name
from broker.telemetry.metrics import Metrics

CANCELLED = 1


class CallMetrics:
    """The metrics of one method, with their label children at hand."""

    def __init__(self, metrics: Metrics, method: str) -> None:
        self._calls = metrics.calls
        self._method = method
        self._ok = metrics.calls.labels(method, code_name(OK))
        self._seconds = metrics.call_seconds.labels(method)
        self._sent = metrics.sent_bytes

    def answered(self, answers: list[Answer], seconds: float) -> None:
        """Count calls that were answered together with OK."""
        self._ok.inc(len(answers))
        self._sent.inc(sum([len(response) for _, response in answers]))
        self._seconds.observe(seconds, len(answers))

    def failed(self, code: int, seconds: float) -> None:
        """Count a call that ended with an error."""
        self.ended(code)
        self._seconds.observe(seconds)

    def observe(self, seconds: float) -> None:
        """Count the time of one frame of a stream."""
        self._seconds.observe(seconds)

    def ended(self, code: int) -> None:
        """Count a stream that ended."""
        self._calls.labels(self._method, code_name(code)).inc()


def count_refused(metrics: Metrics, errors: list[Refused]) -> None:
    """Count messages that were refused."""
    for error in errors:
        metrics.refused.labels(error.reason).inc()
