"""The errors a caller can be given, each with a reason that machines read and a message for people.

    Refused
    ├── InvalidRequest     the request itself is wrong: repeating it cannot help      (INVALID_ARGUMENT)
    ├── NotAuthorized      the client may not do this: repeating it cannot help       (PERMISSION_DENIED)
    ├── LimitReached       a limit of the server is reached: try again later          (RESOURCE_EXHAUSTED)
    │   └── StoreFull      memory limit or disk full
    └── Unavailable        the server or its store is away: try again, maybe elsewhere (UNAVAILABLE)
        └── StoreUnavailable
            └── StoreInUse     another process holds the store

Reasons are those of proto/broker/broker.proto.
"""

from collections.abc import Mapping

QUEUE_FULL_FOR = 0.1
"""Seconds: a full queue has room again after a commit or two."""

STORE_AWAY_FOR = 0.25
"""Seconds: much shorter than most absences, but those who come back wait longer each time."""

STORE_FULL_FOR = 1.0
"""Seconds: messages expire all the time, and make room."""


class Refused(Exception):
    """A request was refused; nothing of it was stored unless the reason is OUTCOME_UNKNOWN.

    Attributes:
        reason: UPPER_SNAKE_CASE, from the table in broker.proto.
        message: a sentence for people: what was wrong, and what to do.
        metadata: the field or limit the message speaks of, for machines.
        retry_after: seconds after which the same request may succeed, where that comes by itself.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidRequest(Refused):
    """The request is wrong and will be wrong again."""


class NotAuthorized(Refused):
    """The client may not do this with a subject, or (None) with any at all."""

    def __init__(self, action: str, subject: str | None = None) -> None:
        does = f"{action.lower()} to {'any subject' if subject is None else f'subject {subject!r}'}"
        text = f"this client may not {does}: who runs the broker can permit it"
        named = {} if subject is None else {"subject": subject}
        super().__init__("NOT_AUTHORIZED", text, {"action": action, **named})
        self.action = action
        self.subject = subject


class LimitReached(Refused):
    """A limit of the server is reached; the same request may succeed later."""


class Unavailable(Refused):
    """The server cannot serve now; another replica, or this one later, can."""


class StoreFull(LimitReached):
    """The store has no room: its memory limit is reached or its disk is full."""

    def __init__(
        self,
        message: str,
        metadata: Mapping[str, str] | None = None,
        *,
        retry_after: float | None = STORE_FULL_FOR,
    ) -> None:
        super().__init__("STORE_FULL", message, metadata, retry_after=retry_after)


class StoreUnavailable(Unavailable):
    """The store cannot be used now; nothing of the batch was stored."""

    def __init__(self, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__("STORE_UNAVAILABLE", message, metadata, retry_after=STORE_AWAY_FOR)


class StoreInUse(StoreUnavailable):
    """Another process holds the store; it can be used once that process has ended."""
