"""Just enough HTTP/2 to load a gRPC server from one Python core.

A grpcio client needs as much CPU for a call as the server does, so it would measure itself. This one keeps requests
as ready bytes, reads only frame headers and gRPC prefixes, and writes once per read. It takes no response header
apart: a unary call without a response message is a refused call.
"""

import asyncio
import struct
from collections import deque
from typing import Protocol, cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
FRAME = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream
FRAME_SIZE = 9
WIDE = 2**31 - 1
GRANT = 2**28  # the connection's receive window is widened again each time this much was read
LITERAL_INDEXED = 0x40
METHOD_POST, SCHEME_HTTP = b"\x83", b"\x86"
NAME_AUTHORITY, NAME_PATH, NAME_CONTENT_TYPE = 1, 4, 31
AGAIN = METHOD_POST + SCHEME_HTTP + b"\xc1\xc0\xbf\xbe"
"""The request headers once the server's table knows them: entries 65 to 62 are those of `first_headers`."""


class Stream(Protocol):
    """What is told about one call."""

    def opened(self) -> None:
        """Initial metadata came and the stream goes on."""

    def received(self, message: bytes) -> None:
        """A gRPC message came."""

    def ended(self, reset: bool) -> None:
        """The server ended the stream; after a reset nothing more is known about it."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    size = len(payload)
    return FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def grpc_message(message: bytes) -> bytes:
    """An uncompressed message with its gRPC prefix."""
    return struct.pack(">BI", 0, len(message)) + message


def first_headers(path: str, authority: str) -> bytes:
    """The request headers, in a form that puts them into the server's table."""

    def text(value: str) -> bytes:
        raw = value.encode()
        if len(raw) > 126:
            raise ValueError(f"{value!r} is longer than 126 bytes")
        return bytes([len(raw)]) + raw

    def named(index: int, value: str) -> bytes:
        return bytes([LITERAL_INDEXED | index]) + text(value)

    return (
        METHOD_POST
        + SCHEME_HTTP
        + named(NAME_PATH, path)
        + named(NAME_AUTHORITY, authority)
        + named(NAME_CONTENT_TYPE, "application/grpc")
        + bytes([LITERAL_INDEXED])
        + text("te")
        + text("trailers")
    )


class Connection(asyncio.Protocol):
    """One HTTP/2 connection that calls one method, as often as wanted.

    What `call` and `send` are given goes out with the next `flush`; data that arrives flushes by itself.
    """

    def __init__(self, path: str, authority: str) -> None:
        self._first = first_headers(path, authority)
        self._streams: dict[int, Stream] = {}
        self._partial: dict[int, bytearray] = {}
        self._rest = b""
        self._out: list[bytes] = []
        self._blocked: deque[tuple[int, bytes, bool]] = deque()
        self._next_id = 1
        self._window = 65535
        self._initial_window = 65535
        self._windows: dict[int, int] = {}
        self._max_frame = 16384
        self._unread = 0
        self.lost = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, target: str, path: str) -> "Connection":
        host, _, port = target.rpartition(":")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: cls(path, target), host, int(port))
        return connection

    def call(self, stream: Stream, message: bytes | None = None) -> int:
        """Start a call; with a message (gRPC prefix included) the sending side ends with it."""
        identifier = self._next_id
        self._next_id += 2
        block = self._first if identifier == 1 else AGAIN
        self._streams[identifier] = stream
        self._windows[identifier] = self._initial_window
        self._out.append(frame(HEADERS, END_HEADERS, identifier, block))
        if message is not None:
            self.send(identifier, message, last=True)
        return identifier

    def send(self, identifier: int, message: bytes, *, last: bool = False) -> None:
        size = len(message)
        fits = size <= self._window and size <= self._windows[identifier]
        if self._blocked or not fits or size > self._max_frame:
            for start in range(0, size, self._max_frame):
                piece = message[start : start + self._max_frame]
                self._blocked.append((identifier, piece, last and start + self._max_frame >= size))
            self._unblock()
            return
        self._window -= size
        self._windows[identifier] -= size
        self._out.append(frame(DATA, END_STREAM if last else 0, identifier, message))

    def finish(self, identifier: int) -> None:
        """End the sending side of a stream."""
        self._blocked.append((identifier, b"", True))
        self._unblock()

    def flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = struct.pack(">HIHI", 2, 0, INITIAL_WINDOW_SIZE, WIDE)
        self._transport.write(
            PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE - 65535))
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(exc)
        for stream in list(self._streams.values()):
            stream.ended(True)
        self._streams.clear()

    def data_received(self, data: bytes) -> None:
        buffer = self._rest + data if self._rest else data
        position, end = 0, len(buffer)
        unpack = FRAME.unpack_from
        while end - position >= FRAME_SIZE:
            high, low, kind, flags, identifier = unpack(buffer, position)
            start = position + FRAME_SIZE
            stop = start + (high << 8 | low)
            if stop > end:
                break
            if kind == DATA:
                self._data(identifier, buffer[start:stop], flags)
            elif kind == HEADERS:
                self._headers(identifier, flags)
            else:
                self._control(kind, flags, identifier, buffer[start:stop])
            position = stop
        self._rest = buffer[position:]
        self.flush()

    def _data(self, identifier: int, payload: bytes, flags: int) -> None:
        self._unread += len(payload)
        if self._unread > GRANT:
            self._out.append(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unread)))
            self._unread = 0
        stream = self._streams.get(identifier)
        if stream is None:
            return
        partial = self._partial.get(identifier)
        if partial is None and len(payload) >= 5 and len(payload) == 5 + int.from_bytes(payload[1:5], "big"):
            stream.received(payload[5:])
        else:
            self._reassemble(identifier, stream, payload)
        if flags & END_STREAM:
            self._end(identifier, reset=False)

    def _reassemble(self, identifier: int, stream: Stream, payload: bytes) -> None:
        partial = self._partial.setdefault(identifier, bytearray())
        partial += payload
        position = 0
        while len(partial) - position >= 5:
            size = int.from_bytes(partial[position + 1 : position + 5], "big")
            if len(partial) - position - 5 < size:
                break
            stream.received(bytes(partial[position + 5 : position + 5 + size]))
            position += 5 + size
        del partial[:position]
        if not partial:
            del self._partial[identifier]

    def _headers(self, identifier: int, flags: int) -> None:
        if flags & END_STREAM:
            self._end(identifier, reset=False)
        elif (stream := self._streams.get(identifier)) is not None:
            stream.opened()

    def _end(self, identifier: int, *, reset: bool) -> None:
        self._windows.pop(identifier, None)
        self._partial.pop(identifier, None)
        stream = self._streams.pop(identifier, None)
        if stream is not None:
            stream.ended(reset)

    def _control(self, kind: int, flags: int, identifier: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._settings(payload)
            self._out.append(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._out.append(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            grown = int.from_bytes(payload, "big") & WIDE
            if identifier == 0:
                self._window += grown
            elif identifier in self._windows:
                self._windows[identifier] += grown
            self._unblock()
        elif kind == RST_STREAM:
            self._end(identifier, reset=True)

    def _settings(self, payload: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", payload):
            if key == INITIAL_WINDOW_SIZE:
                for identifier in self._windows:
                    self._windows[identifier] += value - self._initial_window
                self._initial_window = value
            elif key == MAX_FRAME_SIZE:
                self._max_frame = value
        self._unblock()

    def _unblock(self) -> None:
        """Send what waits for window, in order."""
        while self._blocked:
            identifier, payload, last = self._blocked[0]
            size = len(payload)
            if identifier in self._windows:
                if size > self._window or size > self._windows[identifier]:
                    return
                self._window -= size
                self._windows[identifier] -= size
                self._out.append(frame(DATA, END_STREAM if last else 0, identifier, payload))
            self._blocked.popleft()
