"""The native door: gRPC over HTTP/2 for a server written in Python."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

PANIC: Literal["abort", "unwind"]
"""What a panic does to the process; a door that answers nobody must not outlive it."""

REFUSALS: Sequence[str]
"""The names of the reasons for which the door refuses calls by itself."""

class Limits(Protocol):
    """The bounds of a door: sizes in bytes, times in seconds (0: never). What each means: `broker.server.door`."""

    @property
    def max_request(self) -> int: ...
    @property
    def max_received(self) -> int: ...
    @property
    def max_queued_calls(self) -> int: ...
    @property
    def max_calls(self) -> int: ...
    @property
    def max_stream_queue(self) -> int: ...
    @property
    def max_stream_frames(self) -> int: ...
    @property
    def max_unanswered(self) -> int: ...
    @property
    def max_queued(self) -> int: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def max_streams(self) -> int: ...
    @property
    def request_timeout(self) -> float: ...
    @property
    def keepalive_time(self) -> float: ...
    @property
    def keepalive_timeout(self) -> float: ...
    @property
    def keepalive_min_interval(self) -> float: ...
    @property
    def max_connection_age(self) -> float: ...
    @property
    def max_connection_age_grace(self) -> float: ...

class Door:
    """A listening gRPC server. What its methods mean: `broker.server.door`.

    Args:
        listen: HOST:PORT.
        routes: path and kind of each method; their positions name them in `take`.
        metadata: names of the request headers to hand over with calls, in lower case.
        tls: certificate chain, private key and the authorities of clients' certificates, in PEM; None: plain text.
        refusals: code, message, details and trailers of each of `REFUSALS`.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: a route, header or refusal is wrong or missing, or the certificate cannot be used.
    """

    def __init__(
        self,
        listen: str,
        routes: Sequence[tuple[str, str]],
        metadata: Sequence[str],
        refusals: Mapping[str, tuple[int, str, bytes, Sequence[tuple[str, str]]]],
        limits: Limits,
        tls: tuple[bytes, bytes, bytes | None] | None = None,
    ) -> None: ...
    def set_tls(self, certificate: bytes, key: bytes, client_ca: bytes | None) -> None:
        """Let new connections use these from now on; ValueError: they cannot be used, and change nothing."""

    @property
    def port(self) -> int: ...
    def fileno(self) -> int:
        """Readable when `take` has something."""

    def take(
        self,
    ) -> tuple[
        list[tuple[int, list[tuple[int, bytes | None, Sequence[str | None] | None]]]],
        list[tuple[int, bytes | None]],
        list[int],
        list[int],
    ]:
        """Everything that has happened: calls by route, frames of dialogues, tokens gone, tokens writable."""

    def answer(self, answers: list[tuple[int, bytes]]) -> None: ...
    def open(self, tokens: list[int]) -> None: ...
    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]: ...
    def finish(self, endings: Sequence[tuple[int, int, str, bytes, Sequence[tuple[str, str]]]]) -> None: ...
    def drain(self) -> None:
        """No new connections; GOAWAY to the standing ones, which close when their calls have ended."""

    def stop(self) -> None:
        """End the thread and all connections."""

    def counters(self) -> dict[str, int]:
        """Numbers by name; those of refused calls as "refused_" and the reason."""
