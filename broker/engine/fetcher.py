"""Fetch: what is in memory is answered at once; the rest is looked up together, one query at a time."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from broker.engine.commits import RecentCommits
from broker.engine.fetched import FetchedMessages
from broker.engine.outlet import Encoder
from broker.engine.rules import Limits, message_not_found
from broker.errors import QUEUE_FULL_FOR, LimitReached, Refused, StoreUnavailable
from broker.store.clock import Clock
from broker.store.columns import Columns
from broker.store.contract import Store
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MAX_KEYS = 500
"""Messages looked up in one query."""
MAX_ENCODED = 1 << 20
"""Bytes of encoded messages that are held, more or less, before they are handed over."""


class Lookup(NamedTuple):
    """One fetch: who asks, and for what."""

    token: int
    subject: str
    id: int


Found = Callable[[list[tuple[int, bytes | Refused]]], None]
"""Takes answers: the token and the encoded message, or why there is none."""


class Fetcher:
    """Answers lookups in lists."""

    def __init__(
        self,
        store: Store,
        recent: RecentCommits,
        fetched: FetchedMessages,
        encode: Encoder,
        limits: Limits,
        metrics: Metrics,
        clock: Clock,
        found: Found,
    ) -> None:
        self._store = store
        self._recent = recent
        self._fetched = fetched
        self._encode = encode
        self._limit = limits.max_lookups
        self._metrics = metrics
        self._clock = clock
        self._found = found
        self._waiting: deque[Lookup] = deque()
        self._wake = asyncio.Event()
        self._get_seconds = metrics.store_seconds.labels("get")

    def fetch(self, lookups: Iterable[Lookup]) -> None:
        """Answer lookups through `found`, some of them before this returns."""
        answers: list[tuple[int, bytes | Refused]] = []
        now = self._clock()
        size = misses = 0
        for lookup in lookups:
            commit = self._recent.find(lookup.subject, lookup.id)
            if commit is not None:
                if commit.expires_at(lookup.id) > now:
                    one = commit.encoded_one(lookup.id, self._encode)
                    answers.append((lookup.token, one))
                    size += len(one)
                else:
                    answers.append((lookup.token, _gone(lookup)))
            elif (encoded := self._fetched.find(lookup.subject, lookup.id, now)) is not None:
                answers.append((lookup.token, encoded))
                size += len(encoded)
            elif len(self._waiting) < self._limit:
                misses += 1
                self._waiting.append(lookup)
            else:
                answers.append((lookup.token, _queue_full(self._limit)))
            if size >= MAX_ENCODED:
                self._metrics.cache_hits.inc(len(answers))
                self._found(answers)
                answers, size = [], 0
        self._metrics.cache_hits.inc(len(answers))
        if misses:
            self._metrics.cache_misses.inc(misses)
            self._wake.set()
        if answers:
            self._found(answers)

    async def run(self) -> None:
        """Look up what waits, until cancelled."""
        while True:
            await self._wake.wait()
            # What arrives in the same turn of the event loop goes into one query.
            lookups = [self._waiting.popleft() for _ in range(min(MAX_KEYS, len(self._waiting)))]
            if not self._waiting:
                self._wake.clear()
            self._found(await self._look_up(lookups))

    async def _look_up(self, lookups: list[Lookup]) -> list[tuple[int, bytes | Refused]]:
        keys = list({(lookup.subject, lookup.id): None for lookup in lookups})
        try:
            with self._get_seconds.time():
                messages = dict(zip(keys, await self._store.get(keys), strict=True))
        except Refused as error:
            self._metrics.store_errors.labels("get", error.reason).inc()
            return [(lookup.token, error) for lookup in lookups]
        except Exception:
            log.exception("the store failed in a way it should not")
            self._metrics.store_errors.labels("get", "UNEXPECTED").inc()
            failure = StoreUnavailable("the store failed: try again")
            return [(lookup.token, failure) for lookup in lookups]
        answers: list[tuple[int, bytes | Refused]] = []
        for lookup in lookups:
            message = messages[lookup.subject, lookup.id]
            if message is None:
                answers.append((lookup.token, _gone(lookup)))
            else:
                content = Columns((message.body,), (message.expires_at,), (message.headers,))
                encoded = self._encode(lookup.subject, message.id, content, message.published_at)[0]
                self._fetched.add(lookup.subject, message.id, encoded, message.expires_at)
                answers.append((lookup.token, encoded))
        return answers


def _gone(lookup: Lookup) -> Refused:
    return message_not_found(lookup.subject, lookup.id)


def _queue_full(limit: int) -> LimitReached:
    text = f"more than {limit} fetches wait for the store: try again later"
    metadata = {"limit": "max-lookups", "value": str(limit)}
    return LimitReached("FETCH_QUEUE_FULL", text, metadata, retry_after=QUEUE_FULL_FOR)
