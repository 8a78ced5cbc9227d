"""What clients were denied: counted, and told in the log as far as that stays readable."""

import asyncio
import logging

from broker.errors import NotAuthorized
from broker.server.door import Metadata
from broker.server.identity import described
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LINES = 5
"""In a second; of what is denied beyond that, the log has the number."""


class Denials:
    """Counts and logs denied calls and messages."""

    def __init__(self, metrics: Metrics) -> None:
        self._denied = metrics.denied
        self._lines_left = LINES
        self._more = 0
        self._second: asyncio.TimerHandle | None = None

    def add(self, error: NotAuthorized, metadata: Metadata | None) -> None:
        """Take note of one."""
        self._denied.labels(error.action).inc()
        if self._lines_left:
            self._lines_left -= 1
            subject = "anything" if error.subject is None else repr(error.subject)
            log.warning("denied: %s %s to client: %s", error.action, subject, described(metadata))
        else:
            self._more += 1
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(1.0, self._next_second)

    def _next_second(self) -> None:
        self._second = None
        self._lines_left = LINES
        if self._more:
            log.warning("denied: %d times more within a second", self._more)
            self._more = 0
