"""One commit: publications to a batch, the store's answer to outcomes."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count, repeat

from broker.engine.commits import Commit
from broker.engine.publication import Duplicate, Outcome, Publication
from broker.engine.rules import Limits
from broker.errors import Refused, Unavailable
from broker.store.clock import Clock
from broker.store.contract import NEVER_STORED, Appended, NewMessage, Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LOG_INTERVAL = 5.0
"""Seconds between two lines about a store that refuses commits."""


class Committer:
    """Commits publications to the store and tells their outcomes.

    Each subject's new messages are handed on as a `Commit`, in id order as long as commits side by side share no
    subject.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        committed: Callable[[list[Commit]], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._committed = committed
        self._window = round(1000 * limits.deduplication_window)
        self._last_time = 0
        self._log_after = 0.0
        self._append_seconds = metrics.store_seconds.labels("append")

    async def commit(self, publications: list[Publication]) -> None:
        """Append what they publish, tell them the outcomes, and hand the commits on."""
        gathered = _Gathered(publications)
        clock = self._clock()
        # Times never run backwards within a subject, even where the clock does: `since` relies on it.
        now = self._last_time = max(self._last_time, clock)
        results = await self._append(gathered.batch, now, clock + self._window)
        commits = self._commits(gathered, results, now)
        self._answer(publications, {subject: gathered.outcomes(subject, result) for subject, result in results.items()})
        self._committed(commits)

    async def _append(
        self, batch: dict[str, list[NewMessage]], now: int, keys_until: int
    ) -> Mapping[str, Appended | Refused]:
        try:
            with self._append_seconds.time():
                return await self._store.append(batch, now, keys_until)
        except Refused as error:
            self._failed(error)
            return dict.fromkeys(batch, error)
        except Exception:
            log.exception("the store failed in a way it should not")
            self._metrics.store_errors.labels("append", "OUTCOME_UNKNOWN").inc()
            unknown = Unavailable("OUTCOME_UNKNOWN", "the store failed: the message may or may not be stored")
            return dict.fromkeys(batch, unknown)

    def _commits(self, gathered: "_Gathered", results: Mapping[str, Appended | Refused], now: int) -> list[Commit]:
        commits = []
        messages = transient = duplicates = 0
        for subject, group in gathered.batch.items():
            result = results[subject]
            repeats = len(gathered.repeats.get(subject, ()))
            if isinstance(result, Refused):
                self._metrics.refused.labels(result.reason).inc(len(group) + repeats)
                continue
            new = gathered.new(subject, result.duplicates)
            duplicates += len(result.duplicates) + repeats
            if new:
                commit = Commit.of(subject, result.last_id + 1, new, now)
                commits.append(commit)
                messages += len(commit)
                transient += commit.expiries.count(NEVER_STORED)
        if messages:
            self._metrics.flush_messages.observe(messages)
            self._metrics.published_transient.inc(transient)
            self._metrics.published_stored.inc(messages - transient)
        self._metrics.duplicates.inc(duplicates)
        return commits

    def _answer(self, publications: list[Publication], outcomes: Mapping[str, Iterator[Outcome]]) -> None:
        for publication in publications:
            answers = [next(outcomes[subject]) for subject, _ in publication.messages]
            try:
                publication.done(answers)
            except Exception:
                log.exception("an answer could not be given")

    def _failed(self, error: Refused) -> None:
        self._metrics.store_errors.labels("append", error.reason).inc()
        # Under load this comes a hundred times a second; the counter has them all.
        now = time.monotonic()
        if now >= self._log_after:
            self._log_after = now + LOG_INTERVAL
            log.warning("the store refused a commit: %s", error.message)


class _Gathered:
    """The messages of publications by subject, each key once.

    Attributes:
        batch: what the store gets.
        repeats: of messages whose key came before in this batch: their numbers among the subject's messages (from 0),
            and the places in the subject's list that the first ones have.
    """

    __slots__ = ("_named", "batch", "repeats")

    def __init__(self, publications: list[Publication]) -> None:
        self.batch: dict[str, list[NewMessage]] = {}
        self.repeats: dict[str, dict[int, int]] = {}
        self._named: dict[str, dict[bytes, int]] = {}
        """For subjects with keys, their places."""
        for publication in publications:
            for subject, message in publication.messages:
                group = self.batch.get(subject)
                if group is None:
                    group = self.batch[subject] = []
                if not message.key or self._is_first(subject, message.key, len(group)):
                    group.append(message)

    def _is_first(self, subject: str, key: bytes, place: int) -> bool:
        first = self._named.setdefault(subject, {}).setdefault(key, place)
        if first == place:
            return True
        repeats = self.repeats.setdefault(subject, {})
        repeats[place + len(repeats)] = first
        return False

    def new(self, subject: str, duplicates: Mapping[int, int]) -> list[NewMessage]:
        """Return the messages of a subject that took ids, without their keys: nobody will ask for those."""
        group = self.batch[subject]
        if subject not in self._named:
            return group
        return [
            NewMessage(body, expires_at, headers)
            for place, (body, expires_at, headers, _) in enumerate(group)
            if place not in duplicates
        ]

    def outcomes(self, subject: str, result: Appended | Refused) -> Iterator[Outcome]:
        """Return the outcomes of a subject's messages, in the order in which they were published."""
        if isinstance(result, Refused):
            return repeat(result)
        ids = count(result.last_id + 1)
        if not result.duplicates and subject not in self.repeats:
            return ids
        known = result.duplicates
        places = range(len(self.batch[subject]))
        placed = [Duplicate(known[place]) if place in known else next(ids) for place in places]
        return _with_repeats(placed, self.repeats.get(subject, {}))


def _with_repeats(placed: list[int], repeats: Mapping[int, int]) -> Iterator[Outcome]:
    first = iter(placed)
    for number in range(len(placed) + len(repeats)):
        yield Duplicate(placed[repeats[number]]) if number in repeats else next(first)
