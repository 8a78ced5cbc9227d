"""One commit: publications to a batch, the store's answer to outcomes."""

import logging
import time
from collections.abc import Callable

from broker.engine.commits import Commit
from broker.engine.publication import Outcome, Publication
from broker.errors import Refused, Unavailable
from broker.store.clock import Clock
from broker.store.contract import NEVER_STORED, NewMessage, Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LOG_INTERVAL = 5.0
"""Seconds between two lines about a store that refuses commits."""


class Committer:
    """Commits publications to the store and tells their outcomes.

    Each subject's messages are handed on as a `Commit`, in id order as long as commits side by side share no subject.
    """

    def __init__(self, store: Store, metrics: Metrics, clock: Clock, committed: Callable[[list[Commit]], None]) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._committed = committed
        self._last_time = 0
        self._log_after = 0.0
        self._append_seconds = metrics.store_seconds.labels("append")

    async def commit(self, publications: list[Publication]) -> None:
        """Append what they publish, tell them the outcomes, and hand the commits on."""
        batch: dict[str, list[NewMessage]] = {}
        for publication in publications:
            for subject, message in publication.messages:
                if subject in batch:
                    batch[subject].append(message)
                else:
                    batch[subject] = [message]
        # Times never run backwards within a subject, even where the clock does: `since` relies on it.
        now = self._last_time = max(self._last_time, self._clock())
        last_ids: dict[str, Outcome]
        try:
            with self._append_seconds.time():
                last_ids = await self._store.append(batch, now)
        except Refused as error:
            last_ids = dict.fromkeys(batch, error)
            self._failed(error)
        except Exception:
            log.exception("the store failed in a way it should not")
            last_ids = dict.fromkeys(
                batch, Unavailable("OUTCOME_UNKNOWN", "the store failed: the message may or may not be stored")
            )
            self._metrics.store_errors.labels("append", "OUTCOME_UNKNOWN").inc()
        commits = self._commits(batch, last_ids, now)
        self._answer(publications, last_ids)
        self._committed(commits)

    def _commits(self, batch: dict[str, list[NewMessage]], last_ids: dict[str, Outcome], now: int) -> list[Commit]:
        commits = []
        messages = transient = 0
        for subject, group in batch.items():
            last_id = last_ids[subject]
            if isinstance(last_id, int):
                commit = Commit.of(subject, last_id + 1, group, now)
                commits.append(commit)
                messages += len(commit)
                transient += commit.expiries.count(NEVER_STORED)
            else:
                self._metrics.refused.labels(last_id.reason).inc(len(group))
        if messages:
            self._metrics.flush_messages.observe(messages)
            self._metrics.published_transient.inc(transient)
            self._metrics.published_stored.inc(messages - transient)
        return commits

    def _answer(self, publications: list[Publication], last_ids: dict[str, Outcome]) -> None:
        """Give each message its outcome; counts `last_ids` up as it goes."""
        for publication in publications:
            outcomes: list[Outcome] = []
            for subject, _ in publication.messages:
                outcome = last_ids[subject]
                if isinstance(outcome, int):
                    outcome = last_ids[subject] = outcome + 1
                outcomes.append(outcome)
            try:
                publication.done(outcomes)
            except Exception:
                log.exception("an answer could not be given")

    def _failed(self, error: Refused) -> None:
        self._metrics.store_errors.labels("append", error.reason).inc()
        # Under load this comes a hundred times a second; the counter has them all.
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_INTERVAL
            log.warning("the store refused a commit: %s", error.message)
