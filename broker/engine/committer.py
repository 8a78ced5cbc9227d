"""One commit: publications to a batch, the store's answer to outcomes."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count

from broker.engine.commits import Commit
from broker.engine.publication import Duplicate, Outcome, Outcomes, Publication
from broker.engine.rules import Limits
from broker.errors import Refused, Unavailable
from broker.store.clock import Clock
from broker.store.columns import Columns
from broker.store.contract import NEVER_STORED, Appended, Batch, Store
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

    async def _append(self, batch: Batch, now: int, keys_until: int) -> Mapping[str, Appended | Refused]:
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
            if new.bodies:
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

    def _answer(self, publications: list[Publication], outcomes: Mapping[str, Outcomes]) -> None:
        for publication, own in _shares(publications, outcomes):
            try:
                publication.done(publication.in_order(own))
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

    __slots__ = ("batch", "repeats")

    def __init__(self, publications: list[Publication]) -> None:
        self.repeats: dict[str, dict[int, int]] = {}
        self.batch = {subject: self._once(subject, messages) for subject, messages in _joined(publications).items()}

    def _once(self, subject: str, messages: Columns) -> Columns:
        """Take note of the repeats, and return the rest."""
        if not messages.keys:
            return messages
        keys = [key for key in messages.keys if key]
        if len(set(keys)) == len(keys):
            return messages
        first: dict[bytes, int] = {}
        repeats: dict[int, int] = {}
        for number, key in enumerate(messages.keys):
            place = number - len(repeats)
            if key and first.setdefault(key, place) != place:
                repeats[number] = first[key]
        self.repeats[subject] = repeats
        return messages.without(repeats)

    def new(self, subject: str, duplicates: Mapping[int, int]) -> Columns:
        """Return the messages of a subject that took ids."""
        return self.batch[subject].without(duplicates)

    def outcomes(self, subject: str, result: Appended | Refused) -> Outcomes:
        """Return the outcomes of a subject's messages, in the order in which they were published."""
        size, repeats = len(self.batch[subject].bodies), self.repeats.get(subject, {})
        if isinstance(result, Refused):
            return [result] * (size + len(repeats))
        if not result.duplicates and not repeats:
            return range(result.last_id + 1, result.last_id + 1 + size)
        ids, known = count(result.last_id + 1), result.duplicates
        placed = [Duplicate(known[place]) if place in known else next(ids) for place in range(size)]
        return list(_with_repeats(placed, repeats))


def _shares(
    publications: list[Publication], outcomes: Mapping[str, Outcomes]
) -> Iterator[tuple[Publication, Mapping[str, Outcomes]]]:
    """Divide each subject's outcomes among the publications."""
    if len(publications) == 1:
        yield publications[0], outcomes
        return
    told = dict.fromkeys(outcomes, 0)
    for publication in publications:
        own: dict[str, Outcomes] = {}
        for subject, messages in publication.parts.items():
            begin = told[subject]
            end = told[subject] = begin + len(messages.bodies)
            own[subject] = outcomes[subject][begin:end]
        yield publication, own


def _joined(publications: list[Publication]) -> Mapping[str, Columns]:
    if len(publications) == 1:
        return publications[0].parts
    parts: dict[str, list[Columns]] = {}
    for publication in publications:
        for subject, messages in publication.parts.items():
            parts.setdefault(subject, []).append(messages)
    return {subject: Columns.joined(messages) for subject, messages in parts.items()}


def _with_repeats(placed: list[int], repeats: Mapping[int, int]) -> Iterator[Outcome]:
    first = iter(placed)
    for number in range(len(placed) + len(repeats)):
        yield Duplicate(placed[repeats[number]]) if number in repeats else next(first)
