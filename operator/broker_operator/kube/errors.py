"""What the API server can answer, as types.

`retriable` says whether the same request may succeed later without anybody changing anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldConflict:
    """One field that another field manager owns."""

    field: str
    message: str


class KubeError(Exception):
    """A request the API server refused, or never answered.

    `status` is the HTTP status (0: no answer), `message` the server's own words, `fields` the paths it named.
    """

    retriable: ClassVar[bool] = True

    def __init__(self, message: str, *, status: int = 0, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.causes = list((details or {}).get("causes") or [])

    @property
    def fields(self) -> list[str]:
        """Paths of the fields the server found fault with."""
        return [cause["field"] for cause in self.causes if cause.get("field")]


class NotFound(KubeError):
    """404: no such object, or no such kind."""

    retriable = False


class Conflict(KubeError):
    """409: another writer was there first, or another field manager owns a field."""

    @property
    def field_conflicts(self) -> list[FieldConflict]:
        """The fields that other managers own; empty when it was another kind of conflict."""
        return [
            FieldConflict(cause.get("field", ""), cause.get("message", ""))
            for cause in self.causes
            if cause.get("reason") == "FieldManagerConflict"
        ]


class Invalid(KubeError):
    """400 or 422: the object is wrong; sending it again cannot help."""

    retriable = False


class Forbidden(KubeError):
    """401 or 403: a right is missing, or an admission rule refused. May be granted later."""


class Throttled(KubeError):
    """429: the server asks to wait `retry_after` seconds."""

    def __init__(self, message: str, *, retry_after: float, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, status=429, details=details)
        self.retry_after = retry_after


class Unavailable(KubeError):
    """5xx, a timeout, or no connection."""


_BY_STATUS: dict[int, type[KubeError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
}


def error_from(status: int, body: Mapping[str, Any], *, retry_after: str | None, reason: str) -> KubeError:
    """Build the typed error of a refused request from its `Status` body."""
    message = str(body.get("message") or reason or f"HTTP {status}")
    details = body.get("details")
    if status == 429:
        return Throttled(message, retry_after=_seconds(retry_after), details=details)
    return _BY_STATUS.get(status, Unavailable)(message, status=status, details=details)


def _seconds(retry_after: str | None) -> float:
    try:
        return max(0.0, float(retry_after or 1))
    except ValueError:  # an HTTP date: allowed by the standard, never sent by an API server
        return 1.0
