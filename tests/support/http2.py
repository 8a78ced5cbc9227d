"""HTTP/2 by hand: a client that can send any frame, right or wrong, and keeps what comes back by stream."""

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from hpack import Decoder, Encoder  # type: ignore[import-untyped]

from tests.support.wire import LIMIT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
UNKNOWN = 0xBB
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 4, 6
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11
MAX_FRAME = 16_384
DEFAULT_WINDOW = 65_535
CHUNK = 1 << 18
"""Bytes of a flood that are written before the client looks whether its connection still stands."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 §4.1)."""
    return struct.pack(">BHBBI", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def grpc_message(message: bytes, *, compressed: bool = False) -> bytes:
    """A message with gRPC's prefix."""
    return struct.pack(">BI", compressed, len(message)) + message


def data(stream: int, payload: bytes, *, end: bool = False) -> bytes:
    """DATA frames, as many as the size needs."""
    parts = [payload[at : at + MAX_FRAME] for at in range(0, len(payload), MAX_FRAME)] or [b""]
    return b"".join(
        frame(DATA, END_STREAM if end and number == len(parts) else 0, stream, part)
        for number, part in enumerate(parts, 1)
    )


def reset(stream: int, code: int = CANCEL) -> bytes:
    """RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def header_block(path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The headers of a gRPC request, or what a test makes of them: a value of "" leaves one out.

    Nothing goes into the server's table, so a block is right at any time.
    """
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "broker",
        "content-type": "application/grpc",
        "te": "trailers",
        **(headers or {}),
    }
    encoder = Encoder()
    encoder.header_table_size = 0
    block: bytes = encoder.encode([(name, value) for name, value in fields.items() if value], huffman=False)
    return block


def request(stream: int, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request with this body (gRPC's prefix included); None: the headers only, and the stream stays open."""
    opening = frame(HEADERS, END_HEADERS, stream, header_block(path, headers))
    return opening if body is None else opening + data(stream, body, end=True)


@dataclass
class Reply:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    """Of the head and the trailers."""
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    """The error code of the server's RST_STREAM."""

    @property
    def status(self) -> int | None:
        """The gRPC status."""
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def messages(self) -> list[bytes]:
        """The whole messages of the body."""
        found, rest = [], self.body
        while len(rest) >= 5 and len(rest) >= 5 + (size := int.from_bytes(rest[1:5], "big")):
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class Http2:
    """One connection. It answers SETTINGS and PING, and gives window for what it has read unless told otherwise."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, generous: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._generous = generous
        self._decoder = Decoder()
        self._changed = asyncio.Event()
        self.replies: defaultdict[int, Reply] = defaultdict(lambda: Reply(ended=self.closed))
        self.frames: defaultdict[int, int] = defaultdict(int)
        """How many frames of each kind have come."""
        self._initial_window = DEFAULT_WINDOW
        self.windows: defaultdict[int, int] = defaultdict(lambda: self._initial_window, {0: DEFAULT_WINDOW})
        """How much more `upload` may send on each stream and, as 0, on the connection."""
        self.ended = 0
        """How many streams the server has ended."""
        self.goaway: int | None = None
        """The error code of the last GOAWAY."""
        self.greeted = False
        """Whether the server's settings are known."""
        self.max_header_list: int | None = None
        """How large headers the server takes, in bytes; None where it does not say."""
        self.closed = False
        """Whether the server has closed the connection."""

    def send(self, *frames: bytes) -> None:
        """Send, without waiting for anything. What is sent into a closed connection is lost."""
        if not self.closed:
            self._writer.write(b"".join(frames))

    async def flush(self) -> None:
        """Wait until the server has taken what was sent, or has closed the connection."""
        with suppress(ConnectionError):
            await self._writer.drain()
        await asyncio.sleep(0)  # draining alone lets nothing be read

    async def upload(self, stream: int, payload: bytes, *, end: bool = True) -> None:
        """Send the body of a request, or a part that is not the end, no faster than the server gives window, until it
        ends the stream."""
        await self.until(lambda: self.greeted or self.closed, "the server says how much it takes")
        reply = self.replies[stream]
        for at in range(0, len(payload), MAX_FRAME):
            part = payload[at : at + MAX_FRAME]
            await self.until(
                lambda: reply.ended or self.closed or min(self.windows[0], self.windows[stream]) >= MAX_FRAME,
                f"there is window for stream {stream}",
            )
            if reply.ended or self.closed:
                return
            self.windows[0] -= len(part)
            self.windows[stream] -= len(part)
            self.send(data(stream, part, end=end and at + MAX_FRAME >= len(payload)))

    async def flood(self, frames: Iterable[bytes]) -> int:
        """Send for as long as the connection stands; returns how many frames were sent."""
        sent, size = 0, 0
        waiting: list[bytes] = []
        for one in frames:
            waiting.append(one)
            sent, size = sent + 1, size + len(one)
            if size >= CHUNK:
                self.send(*waiting)
                await self.flush()
                waiting, size = [], 0
                if self.closed:
                    return sent
        self.send(*waiting)
        await self.flush()
        return sent

    async def until(self, true: Any, what: str, within: float = LIMIT) -> None:
        """Wait until something holds of what has come."""
        try:
            async with asyncio.timeout(within):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"in {within:.0f} s it did not come true that {what}: {dict(self.replies)}") from None

    async def reply(self, stream: int, within: float = LIMIT) -> Reply:
        """What came on a stream, once it has ended."""
        reply = self.replies[stream]
        await self.until(lambda: reply.ended or self.closed, f"stream {stream} ends", within)
        return reply

    async def end(self, within: float = LIMIT) -> int | None:
        """Wait until the server has closed the connection; returns what its GOAWAY said."""
        await self.until(lambda: self.closed, "the server closes the connection", within)
        return self.goaway

    async def pong(self) -> None:
        """Wait until the server has looked at everything that was sent before."""
        before = self.frames[PING]
        self.send(frame(PING, 0, 0, bytes(8)))
        await self.until(lambda: self.frames[PING] > before or self.closed, "the server answers a ping")

    async def read(self) -> None:
        """Take what comes until the connection is closed."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                size = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                self._take(kind, flags, stream, await self._reader.readexactly(size) if size else b"")
                self._changed.set()
        self.closed = True
        for reply in self.replies.values():
            reply.ended = True
        self._changed.set()

    def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames[kind] += 1
        reply = self.replies[stream] if stream else Reply()
        if kind == HEADERS:
            assert flags & END_HEADERS, "a server of gRPC needs no CONTINUATION"
            reply.headers.update(self._decoder.decode(payload))
        elif kind == DATA:
            reply.body += payload
            if self._generous and payload:
                self.send(
                    window_update(0, len(payload)),
                    *([] if flags & END_STREAM else [window_update(stream, len(payload))]),
                )
        elif kind == RST_STREAM:
            reply.reset = int.from_bytes(payload, "big")
            self._end(reply)
        elif kind == WINDOW_UPDATE:
            self.windows[stream] += int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == SETTINGS and not flags & ACK:
            # Streams that were used before would have to be changed too: there are none so early.
            settings = dict(struct.iter_unpack(">HI", payload))
            self._initial_window = settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
            self.max_header_list = settings.get(MAX_HEADER_LIST_SIZE)
            self.send(frame(SETTINGS, ACK, 0))
            self.greeted = True
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._end(reply)

    def _end(self, reply: Reply) -> None:
        self.ended += not reply.ended
        reply.ended = True


@asynccontextmanager
async def http2(
    address: str, settings: Mapping[int, int] | None = None, *, reads: bool = True, generous: bool = True
) -> AsyncIterator[Http2]:
    """A connection that has said hello; hung up at the end.

    Args:
        settings: of the client, by their numbers.
        reads: whether it takes what the server sends.
        generous: whether it gives window for what it has taken.
    """
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    client = Http2(reader, writer, generous=generous)
    payload = b"".join(struct.pack(">HI", name, value) for name, value in (settings or {}).items())
    client.send(PREFACE, frame(SETTINGS, 0, 0, payload))
    reading = asyncio.create_task(client.read()) if reads else None
    try:
        yield client
    finally:
        client.close()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
