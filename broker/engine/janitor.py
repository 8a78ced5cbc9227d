"""Deletes what has expired, a little at a time, and by doing so notices when the store is away and when it is back."""

import asyncio
import logging
import time

from broker.errors import Refused, Unavailable
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between looks at the store."""
STEP = 10_000
"""Messages deleted at once; stores let commits in between."""


class Janitor:
    """Keeps the store clean and knows how long it has been away."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._expire_seconds = metrics.store_seconds.labels("expire")
        self._away_since: float | None = None
        self._trouble: Refused | None = None

    async def run(self) -> None:
        """Clean until cancelled."""
        while True:
            try:
                deleted = await self._step()
                self._back()
            except Refused as error:
                self._away(error)
                deleted = 0
            except Exception:
                log.exception("the store failed in a way it should not")
                self._away(Unavailable("STORE_UNAVAILABLE", "the store failed unexpectedly; the log has the cause"))
                deleted = 0
            # A full step means there is more; a short pause lets commits in between.
            await asyncio.sleep(INTERVAL if deleted < STEP else 0.01)

    def away_for(self) -> float:
        """Return for how many seconds the store could not be used, 0.0 when it can."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    @property
    def trouble(self) -> str:
        """Why the store cannot be used, empty when it can."""
        return self._trouble.message if self._trouble else ""

    async def _step(self) -> int:
        with self._expire_seconds.time():
            deleted = await self._store.expire(STEP)
        self._metrics.expired.inc(deleted)
        usage = await self._store.usage()
        self._metrics.keys_forgotten.value = usage.keys_forgotten
        self._metrics.store_bytes.set(usage.bytes)
        self._metrics.store_limit_bytes.set(usage.limit or 0)
        return deleted

    def _away(self, error: Refused) -> None:
        self._metrics.store_errors.labels("expire", error.reason).inc()
        if not isinstance(error, Unavailable):
            return
        self._trouble = error
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("the store is away: %s", error.message)

    def _back(self) -> None:
        if self._away_since is not None:
            log.info("the store is back after %.1f s", self.away_for())
        self._away_since = self._trouble = None
