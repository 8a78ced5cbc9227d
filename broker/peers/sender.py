"""The side that is followed: sends our commits to other brokers, each those of the subjects it asked for."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias
from urllib.parse import unquote

import grpc

from broker.api import peers_pb2
from broker.engine.commits import Commit
from broker.engine.outlet import Encoder
from broker.peers import frames
from broker.peers.addresses import join
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MAX_QUEUE_BYTES = 32 << 20
"""What may wait for one follower; it reads from the store what was not sent."""

HELLO_SECONDS = 5.0
"""How long a caller may take to say who it is."""

# Generic only in the type stubs.
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class _Follower:
    """One broker that follows us: what it wants, and what waits for it."""

    def __init__(self) -> None:
        self.subjects: set[str] = set()
        self.queue: deque[bytes] = deque()
        self.bytes = 0
        self.wake = asyncio.Event()

    def put(self, frame: bytes) -> None:
        self.queue.append(frame)
        self.bytes += len(frame)
        self.wake.set()

    def take(self) -> bytes:
        """Return what waits, joined up to a limit."""
        parts = [self.queue.popleft()]
        size = len(parts[0])
        while self.queue and size + len(self.queue[0]) <= frames.JOIN_BYTES:
            parts.append(self.queue.popleft())
            size += len(parts[-1])
        self.bytes -= size
        return b"".join(parts)


class Sender:
    """Serves broker.peers.Peers.

    Args:
        listen: HOST:PORT.
        hello: what we say of ourselves; its port is set when it is known.
        encode: makes messages into what subscribers get.
        called: told the address of a broker that calls and wants to be called back.
    """

    def __init__(
        self, listen: str, hello: peers_pb2.Hello, encode: Encoder, metrics: Metrics, called: Callable[[str], None]
    ) -> None:
        self._listen = listen
        self._hello = hello
        self._encode = encode
        self._called = called
        self._followers: dict[str, set[_Follower]] = {}
        self._all: set[_Follower] = set()
        self._stopping = False
        self._sent = metrics.peer_commits.labels("sent")
        self._dropped = metrics.peer_commits.labels("dropped")
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._serve)
        service, _, method = frames.FOLLOW.strip("/").partition("/")
        self._server = grpc.aio.server(
            handlers=[grpc.method_handlers_generic_handler(service, {method: handler})],
            options=[
                frames.UNLIMITED,
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address cannot be listened on.
        """
        try:
            port = self._server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen} for other brokers: {error}") from None
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Send what waits, for `grace` seconds at most, then end all streams."""
        self._stopping = True
        for follower in self._all:
            follower.wake.set()
        await self._server.stop(grace)

    def committed(self, commits: list[Commit]) -> None:
        """Send commits to those who follow their subjects."""
        for commit in commits:
            followers = self._followers.get(commit.subject)
            if followers:
                frame = frames.encode_commit(commit, self._encode)
                for follower in followers:
                    if follower.queue and follower.bytes + len(frame) > MAX_QUEUE_BYTES:
                        self._dropped.inc()
                    else:
                        follower.put(frame)
                        self._sent.inc()

    async def _serve(self, requests: AsyncIterator[bytes], context: Context) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = frames.decode_request(await anext(requests))
        except (TimeoutError, StopAsyncIteration, ValueError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"begin with a hello: {error}")
        if why := frames.refusal(self._hello, first.hello):
            log.warning("refused the broker at %s: %s", context.peer(), why)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        if first.hello.port:
            self._called(join(_host(context.peer()), first.hello.port))
        follower = _Follower()
        follower.put(peers_pb2.FollowResponse(hello=self._hello).SerializeToString())
        self._change(follower, first)
        self._all.add(follower)
        reader = asyncio.create_task(self._read(follower, requests))
        try:
            while follower.queue or not self._stopping:
                if follower.queue:
                    await context.write(follower.take())
                else:
                    follower.wake.clear()
                    await follower.wake.wait()
        finally:
            reader.cancel()
            self._all.discard(follower)
            for subject in follower.subjects:
                self._forget(follower, subject)

    async def _read(self, follower: _Follower, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                self._change(follower, frames.decode_request(data))
        except ValueError as error:
            log.warning("a broker that follows this one makes no sense: %s", error)

    def _change(self, follower: _Follower, request: peers_pb2.FollowRequest) -> None:
        for subject in request.remove:
            if subject in follower.subjects:
                follower.subjects.discard(subject)
                self._forget(follower, subject)
        for subject in request.add:
            follower.subjects.add(subject)
            self._followers.setdefault(subject, set()).add(follower)
        follower.put(peers_pb2.FollowResponse(followed=request.number).SerializeToString())

    def _forget(self, follower: _Follower, subject: str) -> None:
        followers = self._followers[subject]
        followers.discard(follower)
        if not followers:
            del self._followers[subject]


def _host(peer: str) -> str:
    """Return the host of what gRPC calls a peer: "ipv4:10.0.0.1:3456" or "ipv6:%5B::1%5D:3456"."""
    return unquote(peer.partition(":")[2]).rpartition(":")[0].strip("[]")
