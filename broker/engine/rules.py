"""What a message, a subject and a start position must be like, and the limits of one broker."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from broker.errors import InvalidRequest

MAX_SUBJECT_BYTES = 255
MAX_KEY_BYTES = 255

_CONTROL = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
"""C0 and C1 control characters and DEL (Unicode category Cc): they would break logs, terminals and metrics."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one broker. Sizes in bytes, times in seconds."""

    max_body: int = 1 << 20
    max_headers: int = 8 << 10
    """Bytes of a message's headers, names and values together."""
    max_expiration: int = 604_800
    deduplication_window: float = 120.0
    """How long the key of a message is remembered; 0: keys are ignored."""
    max_batch_messages: int = 10_000
    """Messages in one frame of PublishBatch or PublishStream."""
    max_queue_messages: int = 100_000
    """Messages that wait for the store."""
    max_queue_bytes: int = 64 << 20
    """Bytes of bodies, headers and keys that wait for the store."""
    max_subscriptions: int = 10_000
    max_lookups: int = 10_000
    """Fetches that wait for the store."""
    cache_bytes: int = 32 << 20
    """Bytes of messages that are kept for Fetch and for subscribers that catch up: recent and often fetched ones."""


class Rules:
    """Checks requests against the limits."""

    # Subjects come again and again: remembering good ones makes the check one set look-up.
    _KNOWN_SUBJECTS = 10_000

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._max_body = limits.max_body
        self._max_headers = limits.max_headers
        self._max_expiration = limits.max_expiration
        self._good_subjects: set[str] = set()

    def check_subject(self, subject: str) -> None:
        """Refuse a subject that is empty, longer than 255 bytes of UTF-8, or has control characters.

        Raises:
            InvalidRequest: SUBJECT_INVALID.
        """
        if subject in self._good_subjects:
            return
        if not subject:
            raise _bad("SUBJECT_INVALID", "subject is empty: give 1 to 255 bytes of UTF-8", field="subject")
        size = len(subject.encode())
        if size > MAX_SUBJECT_BYTES:
            raise _bad("SUBJECT_INVALID", f"subject has {size} bytes: at most 255 are allowed", field="subject")
        if not _CONTROL.isdisjoint(subject):
            where = next(i for i, character in enumerate(subject) if character in _CONTROL)
            raise _bad("SUBJECT_INVALID", f"subject has a control character at position {where}", field="subject")
        if len(self._good_subjects) >= self._KNOWN_SUBJECTS:
            self._good_subjects.clear()
        self._good_subjects.add(subject)

    def all_good(
        self,
        subjects: Set[str],
        bodies: Iterable[bytes],
        expirations: Set[int],
        keys: Iterable[bytes],
        headers: Iterable[bytes],
    ) -> bool:
        """Whether messages are good for sure; otherwise, checking each by itself tells.

        There is at least one. Their headers are encoded, which makes them longer than names and values are together.
        """
        return (
            self._good_subjects >= subjects
            and max(map(len, bodies)) <= self._max_body
            and min(expirations) >= 0
            and max(expirations) <= self._max_expiration
            and max(map(len, keys)) <= MAX_KEY_BYTES
            and max(map(len, headers), default=0) <= self._max_headers
        )

    def check_message(self, subject: str, body: bytes, expiration: int) -> None:
        """Refuse a message that must not be published. `expiration` is in seconds.

        Raises:
            InvalidRequest: SUBJECT_INVALID, BODY_TOO_LARGE, EXPIRATION_NEGATIVE or EXPIRATION_TOO_LONG.
        """
        if subject not in self._good_subjects:
            self.check_subject(subject)
        if len(body) > self._max_body:
            raise _bad(
                "BODY_TOO_LARGE",
                f"body has {len(body)} bytes: this broker takes at most {self._max_body}",
                field="body",
                limit=str(self._max_body),
            )
        if expiration < 0:
            raise _bad(
                "EXPIRATION_NEGATIVE",
                f"expirationSeconds is {expiration}: use 0 for fire-and-forget or a positive number",
                field="expirationSeconds",
            )
        if expiration > self._max_expiration:
            raise _bad(
                "EXPIRATION_TOO_LONG",
                f"expirationSeconds is {expiration}: this broker keeps messages at most {self._max_expiration} s",
                field="expirationSeconds",
                limit=str(self._max_expiration),
            )

    def check_key(self, key: bytes) -> None:
        """Refuse a key that is too long.

        Raises:
            InvalidRequest: MESSAGE_KEY_TOO_LONG.
        """
        if len(key) > MAX_KEY_BYTES:
            text = f"message_key has {len(key)} bytes: at most {MAX_KEY_BYTES} are allowed"
            raise _bad("MESSAGE_KEY_TOO_LONG", text, field="message_key", limit=str(MAX_KEY_BYTES))

    def check_headers(self, headers: Mapping[str, bytes]) -> None:
        """Refuse headers that are too large.

        Raises:
            InvalidRequest: HEADERS_TOO_LARGE.
        """
        limit = self.limits.max_headers
        size = sum([len(name.encode()) + len(value) for name, value in headers.items()])
        if size > limit:
            text = f"the names and values of the headers have {size} bytes: this broker takes at most {limit}"
            raise _bad("HEADERS_TOO_LARGE", text, field="headers", limit=str(limit))

    def check_batch(self, messages: int) -> None:
        """Refuse a frame of too many messages.

        Raises:
            InvalidRequest: BATCH_TOO_LARGE.
        """
        limit = self.limits.max_batch_messages
        if messages > limit:
            text = f"the frame has {messages} messages: send at most {limit} in one"
            raise _bad("BATCH_TOO_LARGE", text, field="messages", limit=str(limit))


def message_not_found(subject: str, message_id: int) -> InvalidRequest:
    """Return the error of a fetch that finds nothing."""
    text = f"subject {subject!r} has no message with id {message_id}: it never existed, was not kept, or has expired"
    return _bad("MESSAGE_NOT_FOUND", text, field="id")


def start_beyond_end(subject: str, after_id: int, last_id: int) -> InvalidRequest:
    """Return the error of a subscription that wants to start after an id that does not exist yet."""
    text = (
        f"after_id is {after_id}, but the last id of subject {subject!r} is {last_id}: "
        "the id comes from another store; subscribe from the earliest message instead"
    )
    return _bad("START_BEYOND_END", text, field="after_id", last_id=str(last_id))


def start_invalid(text: str) -> InvalidRequest:
    """Return the error of a start position that makes no sense."""
    return _bad("START_INVALID", text, field="start")


def _bad(reason: str, message: str, **metadata: str) -> InvalidRequest:
    return InvalidRequest(reason, message, metadata)
