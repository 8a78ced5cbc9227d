"""Both sides of the native door's seam, driven by chance: hand-made clients, and a service that keeps account."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.server.door import DoorLimits
from broker.server.refusals import refusals
from tests.support import http2 as h
from tests.support.http2 import Http2, Reply, http2
from tests.support.wire import LIMIT

if TYPE_CHECKING:
    from brokercluster_native import Door

ROUTES = [("/t/Unary", "unary"), ("/t/Subscription", "subscription"), ("/t/Dialogue", "dialogue")]
UNARY, SUBSCRIPTION, DIALOGUE = range(3)
LIMITS = DoorLimits(
    max_stream_queue=2000,
    max_stream_frames=8,
    max_unanswered=3,
    max_queued=20_000,
    keepalive_min_interval=0,
)
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 4, 8
CODES = (0, 5, 8, 14)


def open_door() -> Door:
    """A door of the extension for these routes, on a free port."""
    from brokercluster_native import Door

    return Door("127.0.0.1:0", ROUTES, ["x-number"], refusals(LIMITS), LIMITS)


def text(number: int, size: int = 0) -> bytes:
    return b"%d " % number + bytes(size)


def number_of(data: bytes) -> int:
    return int(data.split(b" ", 1)[0])


@dataclass
class Served:
    """A call as the service knows it."""

    token: int
    number: int
    kind: int
    heard: list[int] = field(default_factory=list)
    """Frames of the client."""
    client_ended: bool = False
    sent: list[int] = field(default_factory=list)
    """Frames that the door has accepted."""
    ending: tuple[int, str] | None = None
    """Code, and for a unary call that was answered an empty message."""
    full: bool = False


class Service:
    """Takes from the door and does with the calls what chance wants; checks what it is told against what can be."""

    def __init__(self, door: Door, chance: random.Random) -> None:
        self._door = door
        self._chance = chance
        self._frames = itertools.count()
        self.calls: dict[int, Served] = {}
        """All that were ever handed over, by token."""
        self.by_number: dict[int, Served] = {}
        self._gone: set[int] = set()
        self._dropped: set[int] = set()
        """Those of whom only frames came: they were over before they were taken."""
        self.broken: AssertionError | None = None
        """The first promise of the seam that was broken."""

    def take(self) -> None:
        """Take what has arrived."""
        try:
            self._take()
        except AssertionError as error:
            self.broken = self.broken or error

    def _take(self) -> None:
        calls, frames, gone, writable = self._door.take()
        for route, arrivals in calls:
            for token, request, metadata in arrivals:
                assert token not in self.calls, "a token is used once"
                assert token not in self._dropped, "a call comes before its frames"
                assert metadata is not None
                number = int(metadata[0] or "")
                assert request is None if route == DIALOGUE else number_of(request or b"") == number
                assert number not in self.by_number, "a call is handed over once"
                self.calls[token] = self.by_number[number] = Served(token, number, route)
        for token, frame in frames:
            self._hear(token, frame)
        self._gone.update(gone)
        assert self._dropped <= self._gone, "of whom only frames come, they are gone"
        for token in writable:
            assert self.calls[token].full, "writable comes after a refusal, once"
            assert token not in self._gone - set(gone), "who has gone is not writable"
            self.calls[token].full = False

    def _hear(self, token: int, frame: bytes | None) -> None:
        if token not in self.calls:
            self._dropped.add(token)
            return
        call = self.calls[token]
        assert call.kind == DIALOGUE
        assert not call.client_ended, "nothing comes after the client's last"
        assert token not in self._gone, "nothing comes from who is gone"
        if frame is None:
            call.client_ended = True
            return
        call.heard.append(number_of(frame))
        assert len(call.heard) <= LIMITS.max_unanswered + len(call.sent), "who is not answered is held back"

    @property
    def standing(self) -> list[Served]:
        """Those which this side has neither ended nor lost."""
        return [call for token, call in self.calls.items() if call.ending is None and token not in self._gone]

    def act(self) -> None:
        """Do something, sometimes to calls that are over or never were."""
        chance = self._chance
        some = [call.token for call in self.standing if chance.random() < 0.3]
        if chance.random() < 0.2:
            some += chance.choices([0, 1, 2**62, *self.calls], k=2)
        chance.choice([self._answer, self._open, self._send, self._send, self._send, self._finish])(some)

    def finish_all(self) -> None:
        """End what is left."""
        self._answer([call.token for call in self.standing if call.kind == UNARY])
        self._finish([call.token for call in self.standing])

    def _answer(self, tokens: list[int]) -> None:
        answers = []
        for token in tokens:
            call = self.calls.get(token)
            if call is None or call.kind == UNARY:
                number = -1 if call is None else call.number
                answers.append((token, text(number, self._chance.choice([0, 5000]))))
                if call is not None and call.ending is None:
                    call.ending = (0, "")
        self._door.answer(answers)

    def _open(self, tokens: list[int]) -> None:
        self._door.open(tokens)

    def _send(self, tokens: list[int]) -> None:
        # Who was full is mostly left alone, as the service does; a few are tried all the same.
        tokens = [
            token
            for token in dict.fromkeys(tokens)
            if token not in self.calls or not self.calls[token].full or self._chance.random() < 0.1
        ]
        numbers = [next(self._frames) for _ in range(self._chance.randrange(1, 4))]
        full = self._door.send([text(number, self._chance.choice([0, 300])) for number in numbers], tokens)
        assert set(full) <= set(tokens)
        for token in tokens:
            call = self.calls.get(token)
            if token in full:
                assert call is not None
                assert call.kind == SUBSCRIPTION, "only a subscription is ever full"
                call.full = True
            elif call is not None and call.kind != UNARY and call.ending is None:
                call.sent += numbers

    def _finish(self, tokens: list[int]) -> None:
        endings = []
        for token in tokens:
            code = self._chance.choice(CODES)
            said = f"ended {token}" if code else "-"
            endings.append((token, code, said, b"", [("x-token", str(token))]))
            call = self.calls.get(token)
            if call is not None and call.ending is None:
                call.ending = (code, said)
        self._door.finish(endings)


@dataclass
class Asked:
    """A call as its client knows it."""

    client: Http2
    stream: int
    number: int
    kind: int
    timed: bool
    said: list[int] = field(default_factory=list)
    open: bool = True
    """Whether the request goes on."""
    cancelled: bool = False

    @property
    def reply(self) -> Reply:
        return self.client.replies[self.stream]


class Clients:
    """Connections that come and go, with calls on them."""

    def __init__(self, address: str, chance: random.Random, stack: AsyncExitStack) -> None:
        self._address = address
        self._chance = chance
        self._stack = stack
        self._connections: list[Http2] = []
        self._next: dict[Http2, int] = {}
        self._numbers = itertools.count()
        self.calls: list[Asked] = []

    async def act(self) -> None:
        """Do something."""
        chance = self._chance
        roll = chance.random()
        connections = [one for one in self._connections if not one.closed]
        going = [call for call in self.calls if not call.reply.ended and not call.cancelled]
        if not connections or roll < 0.02:
            await self._connect()
        elif roll < 0.03:
            self._hang_up(chance.choice(connections))
        elif roll < 0.45 or not going:
            self._call(chance.choice(connections))
        elif roll < 0.52:
            call = chance.choice(going)
            call.cancelled = True
            call.client.send(h.reset(call.stream))
        elif roll < 0.8:
            call = chance.choice(going)
            call.client.send(h.window_update(0, 1000), h.window_update(call.stream, 1000))
        else:
            self._say(chance.choice(going))

    async def _connect(self) -> None:
        narrow = self._chance.random() < 0.5
        settings = {h.INITIAL_WINDOW_SIZE: 100} if narrow else {}
        client = http2(self._address, settings, generous=not narrow)
        try:
            connection = await self._stack.enter_async_context(client)
        except OSError:
            return  # the door takes no more
        self._connections.append(connection)
        self._next[connection] = 1

    def _hang_up(self, connection: Http2) -> None:
        for call in self.calls:
            if call.client is connection:
                call.cancelled = True
        connection.close()

    def _call(self, connection: Http2) -> None:
        chance = self._chance
        stream, self._next[connection] = self._next[connection], self._next[connection] + 2
        kind = chance.randrange(3)
        call = Asked(connection, stream, next(self._numbers), kind, timed=chance.random() < 0.2)
        self.calls.append(call)
        timeout = {"grpc-timeout": f"{chance.randrange(1, 60)}m"} if call.timed else {}
        connection.send(h.request(stream, ROUTES[kind][0], headers={"x-number": str(call.number), **timeout}))
        if kind != DIALOGUE:
            call.open = chance.random() < 0.2
            message = h.grpc_message(text(call.number, chance.choice([0, 0, 3000])))
            connection.send(h.data(stream, message, end=not call.open))

    def _say(self, call: Asked) -> None:
        if not call.open:
            return
        if call.kind == DIALOGUE and self._chance.random() < 0.7 and len(call.said) < 100:
            call.said.append(len(call.said))
            message = h.grpc_message(text(call.said[-1]))
            cut = self._chance.randrange(1, len(message))
            call.client.send(h.data(call.stream, message[:cut]), h.data(call.stream, message[cut:]))
        else:
            call.open = False
            call.client.send(h.data(call.stream, b"", end=True))

    def let_everything_through(self) -> None:
        """End all requests, and take whatever comes."""
        for connection in self._connections:
            connection.send(h.window_update(0, 1 << 24))
        for call in self.calls:
            if not call.cancelled and not call.reply.ended:
                call.client.send(h.window_update(call.stream, 1 << 24))
                if call.open:
                    call.open = False
                    call.client.send(h.data(call.stream, b"", end=True))

    def close(self) -> None:
        """Hang up on all connections."""
        for connection in self._connections:
            connection.close()


def compare(asked: Asked, served: Served | None) -> None:
    """Hold what a client got against what the service did."""
    reply = asked.reply
    got = [number_of(message) for message in reply.messages]
    whole = not (asked.cancelled or asked.client.closed or (asked.timed and reply.status == DEADLINE_EXCEEDED))
    if served is None:
        assert not got, "nobody answered"
        assert not whole, "a call that ends as any other was handed over"
        return
    assert served.kind == asked.kind
    assert served.heard == asked.said[: len(served.heard)], "frames come in order, without holes"
    if asked.kind == UNARY:
        assert got in ([], [asked.number]), "an answer reaches its own call, once"
    else:
        assert got == served.sent[: len(got)], "frames arrive in order, without holes, and none after the ending"
    if not whole:
        return
    assert served.ending is not None, "nobody ends a call but the service"
    code, said = served.ending
    if asked.kind == UNARY and not said and reply.status == RESOURCE_EXHAUSTED:
        return  # its answer was one too many bytes for those who do not read
    assert reply.status == code, (asked, served, reply)
    if asked.kind == UNARY and not said:
        assert got == [asked.number]
        return
    assert reply.headers.get("x-token") == str(served.token)
    assert reply.headers["grpc-message"] == said
    if asked.kind != UNARY:
        assert got == served.sent, "everything that was accepted arrives"


async def settled(door: Door, names: tuple[str, ...]) -> None:
    """Wait until these counters are zero."""
    deadline = asyncio.get_running_loop().time() + LIMIT
    while any((found := door.counters())[name] for name in names):
        assert asyncio.get_running_loop().time() < deadline, {name: found[name] for name in names}
        await asyncio.sleep(0.001)
