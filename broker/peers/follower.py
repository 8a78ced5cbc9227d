"""The side that follows: keeps one stream to another broker and hands on what comes."""

import asyncio
import contextlib
import enum
import logging
from collections.abc import Iterable
from typing import Protocol, TypeAlias

import grpc

from broker.api import peers_pb2
from broker.backoff import Backoff
from broker.engine.commits import Commit
from broker.peers import frames

log = logging.getLogger(__name__)

FIRST_RETRY, LAST_RETRY = 0.1, 2.0
"""Seconds between attempts to connect; doubled each time, with jitter."""

REDUNDANT_RETRY = 10.0
"""Seconds after which an address that led to ourselves, or to a broker already followed, is tried again."""

HELLO_SECONDS = 5.0
"""How long connecting and the other's hello may take."""

_OPTIONS = [
    frames.UNLIMITED,
    # A broker that vanished without a word is found within 15 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What keepalive_timeout_ms is said to be; without it, a minute.
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Each attempt is a channel of its own, which must not share the last one's pauses.
    ("grpc.use_local_subchannel_pool", 1),
]

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class Owner(Protocol):
    """What a follower tells."""

    @property
    def hello(self) -> peers_pb2.Hello:
        """Who we are."""

    @property
    def subjects(self) -> Iterable[str]:
        """What we follow."""

    def is_redundant(self, instance: str, follower: "Follower") -> bool:
        """Whether this is ourselves, or somebody whom another follower follows."""

    def received(self, commits: Iterable[Commit]) -> None:
        """Take commits."""

    def connected_anew(self) -> None:
        """Know that commits were missed, of which no more will be."""


class _State(enum.Enum):
    AWAY = enum.auto()
    CONNECTED = enum.auto()
    REDUNDANT = enum.auto()


class Follower:
    """Follows the broker at one address until it is stopped."""

    def __init__(self, address: str, owner: Owner) -> None:
        self.address = address
        self.instance = ""
        """Whom it is connected with."""
        self._owner = owner
        self._state = _State.AWAY
        self._told = False
        """Whether the log knows that it is away."""
        self._changes: dict[str, bool] = {}
        """Subjects to follow (true) or not, which are to be asked for."""
        self._changed = asyncio.Event()
        self._asked_first: frozenset[str] = frozenset()
        """What the first request of this connection asked for."""
        self._number = 0
        self._unconfirmed: dict[str, tuple[int, asyncio.Future[None]]] = {}
        """Subjects that were asked for: by which request, and who waits for it."""
        self._task = asyncio.create_task(self._run())

    @property
    def connected(self) -> bool:
        """Whether commits arrive."""
        return self._state is _State.CONNECTED

    @property
    def redundant(self) -> bool:
        """Whether there is nothing to follow here."""
        return self._state is _State.REDUNDANT

    def follow(self, subject: str, new: bool) -> asyncio.Future[None] | None:
        """Ask for a subject, if it is a new one; returns what to wait for until it is followed, if anything."""
        if not self.connected:
            return None
        if new:
            return self._ask(subject)
        asked = self._unconfirmed.get(subject)
        return asked[1] if asked is not None else None

    def unfollow(self, subject: str) -> None:
        """Ask for no more of a subject."""
        if self.connected:
            self._unconfirmed.pop(subject, None)
            self._changes[subject] = False
            self._changed.set()

    async def stop(self) -> None:
        """Hang up."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _ask(self, subject: str) -> asyncio.Future[None]:
        self._changes[subject] = True
        self._changed.set()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The request that takes the changes with it will be the next one.
        self._unconfirmed[subject] = (self._number + 1, future)
        return future

    async def _run(self) -> None:
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            try:
                await self._follow()
                why = "it hung up"
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
            except TimeoutError:
                why = "it did not answer in time"
            except ValueError as error:
                why = str(error)
            except Exception:
                log.exception("following the broker at %s failed in a way it should not", self.address)
                why = "of an unexpected failure"
            finally:
                was_connected = self.connected
                if not self.redundant:
                    self._state = _State.AWAY
                self._release()
            if was_connected:
                backoff.reset()
            if self.redundant:
                await asyncio.sleep(REDUNDANT_RETRY)
                continue
            if not self._told:
                self._told = True
                text = "cannot follow the broker at %s, its messages are read from the store meanwhile: %s"
                log.warning(text, self.address, why)
            await asyncio.sleep(backoff.next())

    async def _follow(self) -> None:
        """Connect, and take commits until the connection is lost."""
        async with grpc.aio.insecure_channel(self.address, options=_OPTIONS) as channel:
            call: _Call = channel.stream_stream(frames.FOLLOW)()
            self._number += 1
            self._asked_first = frozenset(self._owner.subjects)
            request = peers_pb2.FollowRequest(hello=self._owner.hello, add=self._asked_first, number=self._number)
            self._changes.clear()
            async with asyncio.timeout(HELLO_SECONDS):
                await call.write(request.SerializeToString())
                first = await self._read(call)
            if first is None:
                return
            if not first.HasField("hello"):
                raise ValueError("it did not begin with a hello")
            if why := frames.refusal(self._owner.hello, first.hello):
                raise ValueError(why)
            if self._owner.is_redundant(first.hello.instance, self):
                self._state = _State.REDUNDANT
                return
            self.instance, release = first.hello.instance, first.hello.release
            log.info("connected with the broker at %s, release %s", self.address, release)
            writer = asyncio.create_task(self._write(call))
            try:
                response: peers_pb2.FollowResponse | None = first
                while response is not None:
                    self._take(response)
                    response = await self._read(call)
            finally:
                writer.cancel()

    def _take(self, response: peers_pb2.FollowResponse) -> None:
        if response.commits:
            self._owner.received(frames.decode_commits(response))
        if not response.followed:
            return
        for subject, (number, future) in list(self._unconfirmed.items()):
            if number <= response.followed:
                del self._unconfirmed[subject]
                if not future.done():
                    future.set_result(None)
        if not self.connected:
            # The answer to the first request; what has changed since then was not asked for.
            self._state, self._told = _State.CONNECTED, False
            wanted = frozenset(self._owner.subjects)
            for subject in wanted - self._asked_first:
                self._ask(subject)
            for subject in self._asked_first - wanted:
                self.unfollow(subject)
            self._owner.connected_anew()

    async def _read(self, call: _Call) -> peers_pb2.FollowResponse | None:
        data = await call.read()
        return frames.decode_response(data) if isinstance(data, bytes) else None

    async def _write(self, call: _Call) -> None:
        """Write requests when there are changes; a lost connection is for the reader to notice."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._changed.wait()
                self._changed.clear()
                changes, self._changes = self._changes, {}
                if not changes:
                    continue
                self._number += 1
                request = peers_pb2.FollowRequest(
                    add=[subject for subject, wanted in changes.items() if wanted],
                    remove=[subject for subject, wanted in changes.items() if not wanted],
                    number=self._number,
                )
                await call.write(request.SerializeToString())

    def _release(self) -> None:
        """Let go of those who wait for something to be followed: it will be, once it is connected again."""
        for _, future in self._unconfirmed.values():
            if not future.done():
                future.set_result(None)
        self._unconfirmed.clear()
        self.instance = ""
