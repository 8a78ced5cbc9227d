"""The native door: gRPC over HTTP/2 for a server written in Python."""

from typing import Literal

class Door:
    """A listening gRPC server. What its methods mean: `broker.server.door`."""

    port: int

    def __init__(
        self,
        address: str,
        routes: list[tuple[str, str]],
        *,
        metadata: list[str] = ...,
        max_message: int = ...,
        max_streams: int = ...,
        max_waiting: int = ...,
        queue_frames: int = ...,
        queue_bytes: int = ...,
        max_unanswered: int = ...,
    ) -> None: ...
    def fileno(self) -> int: ...
    def take(
        self,
    ) -> tuple[
        list[tuple[int, list[tuple[int, bytes | None, list[str | None] | None]]]],
        list[tuple[int, bytes | None]],
        list[int],
        list[int],
    ]: ...
    def answer(self, answers: list[tuple[int, bytes]]) -> None: ...
    def open(self, tokens: list[int]) -> None: ...
    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]: ...
    def finish(self, endings: list[tuple[int, int, str, bytes, list[tuple[str, str]]]]) -> None: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    def counters(self) -> dict[str, int]: ...
