"""Who may do what: decided by the rules of a file, which is followed when it changes."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from broker.errors import NotAuthorized
from broker.server.denials import Denials
from broker.server.door import Call, Metadata
from broker.server.followed import follow, stamp
from broker.server.identity import Identity, identity_of
from broker.server.permissions import EVERYTHING, Action, Grant, Rule, grant
from broker.server.permissions_file import parse
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_KNOWN_GRANTS = 10_000
"""Clients come again and again: what the rules come to for one is remembered, of so many."""


class Authorization:
    """Decides what clients may do. Without a file, and with one that has no rules, they may do everything.

    Raises:
        OSError: the file cannot be used; the message says where it is wrong.
    """

    def __init__(self, metrics: Metrics, file: Path | None = None) -> None:
        self._metrics = metrics
        self._paths = [file] if file else []
        self._seen = stamp(self._paths)
        self._rules: list[Rule] = _read(file) if file else []
        self._grants: dict[tuple[Identity, Action], Grant] = {}
        self._denials = Denials(metrics)

    def grant(self, metadata: Metadata | None, action: Action) -> Grant:
        """Return with which subjects the client of a call may do something."""
        if not self._rules:
            return EVERYTHING[action]
        asked = (identity_of(metadata), action)
        found = self._grants.get(asked)
        if found is None:
            if len(self._grants) >= _KNOWN_GRANTS:
                self._grants.clear()
            found = self._grants[asked] = grant(self._rules, *asked)
        return found

    def by_grant(self, calls: list[Call], action: Action) -> Iterator[tuple[Grant, list[Call]]]:
        """Divide calls among what their clients may do; those of one client stay in order."""
        if not self._rules:
            yield EVERYTHING[action], calls
            return
        together: dict[Grant, list[Call]] = {}
        for call in calls:
            together.setdefault(self.grant(call[2], action), []).append(call)
        yield from together.items()

    def denied(self, error: NotAuthorized, metadata: Metadata | None) -> None:
        """Count and log that a client was denied something."""
        self._denials.add(error, metadata)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Read the file anew each time it changes, and call `changed` when there are other rules; until cancelled.

        What cannot be used is logged and counted once, and the rules of before stay.
        """

        async def reload() -> None:
            try:
                rules = await asyncio.to_thread(_read, self._paths[0])
            except OSError as error:
                self._metrics.authorization_reloads.labels("failed").inc()
                log.error("the new rules cannot be used, so the ones before them stay in use: %s", error)
                return
            self._metrics.authorization_reloads.labels("ok").inc()
            if rules != self._rules:
                self._rules = rules
                self._grants.clear()
                log.info("rules of authorization: %d", len(rules))
                changed()

        if self._paths:
            await follow(self._paths, self._seen, reload)


def _read(file: Path) -> list[Rule]:
    try:
        return parse(file.read_bytes())
    except OSError as error:
        raise OSError(f"--authorization-file {file}: it cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise OSError(f"--authorization-file {file}: {error}") from None
