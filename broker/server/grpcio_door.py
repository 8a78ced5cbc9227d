"""The portable door, on grpc.aio: one coroutine a call, raw bytes in and out, arrivals handed over in lists."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias

import grpc

from broker.server.addresses import check_free, with_port
from broker.server.door import Answer, Arrivals, Call, Credentials, DoorLimits, Ending, Handler, Metadata, Route
from broker.server.grpcio_endings import Context, abort, client_may_leave
from broker.server.grpcio_options import ServerTls, server_options
from broker.server.grpcio_stream import Stream

QUIET = 0.5
"""Seconds without a new call after which gRPC may be stopped; a proxy in front has noticed by then."""
LONGEST_NOISE = 5.0
"""Seconds after which it is stopped all the same."""

Method: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"


class GrpcioDoor:
    """Serves routes on grpc.aio. See `broker.server.door` for what its methods promise."""

    name = "grpcio"

    def __init__(
        self,
        listen: str,
        routes: Sequence[Route],
        headers: Sequence[str],
        limits: DoorLimits,
        credentials: Credentials | None = None,
    ) -> None:
        self._listen = listen
        self._headers = {name: position for position, name in enumerate(headers)}
        self._limits = limits
        self._tls = ServerTls(credentials) if credentials else None
        self._tokens = itertools.count(1)
        self._handle: Handler = lambda _: None
        self._loop = asyncio.get_running_loop()
        self._unary: dict[int, asyncio.Future[bytes | Ending]] = {}
        self._subscriptions: dict[int, Stream] = {}
        self._dialogues: dict[int, Stream] = {}
        self._queued = self._cancelled = self._full = 0
        self._last_arrival = -QUIET
        self._server = grpc.aio.server(
            handlers=[_Routes({route.path: self._method(index, route) for index, route in enumerate(routes)})],
            options=server_options(limits),
        )

    async def start(self, handle: Handler) -> str:
        """Listen, and hand arrivals to `handle`."""
        self._handle = handle
        check_free(self._listen)
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._listen)
            else:
                port = self._server.add_secure_port(self._listen, self._tls.server_credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: {error}") from None
        await self._server.start()
        return with_port(self._listen, port)

    def set_tls(self, credentials: Credentials) -> None:
        """Let new connections use these from now on."""
        assert self._tls is not None, "this door was opened without TLS"
        self._tls.set(credentials)

    async def stop(self, grace: float) -> None:
        """Accept nothing more, wait for calls to end, cut off what is left after `grace` seconds."""
        deadline = self._loop.time() + grace
        await self._quiet(min(deadline, self._loop.time() + LONGEST_NOISE))
        await self._server.stop(max(0.0, deadline - self._loop.time()))

    def counters(self) -> dict[str, int]:
        """Return what can be counted here; connections and what gRPC refuses by itself cannot."""
        return {
            "calls": len(self._unary) + len(self._subscriptions) + len(self._dialogues),
            "queued_bytes": self._queued,
            "calls_cancelled": self._cancelled,
            "streams_full": self._full,
        }

    def answer(self, answers: list[Answer]) -> None:
        """Answer unary calls."""
        for token, response in answers:
            self._resolve(token, response)

    def open(self, tokens: list[int]) -> None:
        """Send initial metadata now."""
        for token in tokens:
            stream = self._stream(token)
            if stream is not None:
                stream.opened = True
                stream.wake.set()

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue frames; returns the subscriptions that are full."""
        size = sum(map(len, frames))
        refused = []
        for token in tokens:
            stream = self._subscriptions.get(token)
            if stream is not None:
                if self._is_full(stream):
                    refused.append(token)
                    self._full += 1
                    continue
            else:
                stream = self._dialogues.get(token)
                if stream is None:
                    continue
            stream.queue.extend(frames)
            stream.bytes += size
            self._queued += size
            stream.wake.set()
        return refused

    def finish(self, endings: list[Ending]) -> None:
        """End calls and streams with a status."""
        for ending in endings:
            stream = self._stream(ending[0])
            if stream is not None:
                stream.ending = ending
                stream.room.set()
                stream.wake.set()
            else:
                self._resolve(ending[0], ending)

    async def _quiet(self, deadline: float) -> None:
        """Let the service refuse until nobody comes any more: gRPC cancels calls that come while it stops, and nobody
        can tell from that whether anything was done."""
        while (left := min(deadline, self._last_arrival + QUIET) - self._loop.time()) > 0:  # noqa: ASYNC110 - it is time that it waits for
            await asyncio.sleep(left)

    def _is_full(self, stream: Stream) -> bool:
        if not stream.full and (
            stream.bytes >= self._limits.max_stream_queue
            or len(stream.queue) >= self._limits.max_stream_frames
            or (stream.queue and self._queued >= self._limits.max_queued)
        ):
            stream.refuse()
        return stream.full

    def _stream(self, token: int) -> Stream | None:
        return self._subscriptions.get(token) or self._dialogues.get(token)

    def _resolve(self, token: int, result: bytes | Ending) -> None:
        future = self._unary.get(token)
        if future is not None and not future.done():
            future.set_result(result)

    # What arrives is handed over at once: grpc.aio brings one thing in a turn of the event loop, and to wait a turn
    # for more costs more than it gathers.

    def _arrive(self, route: int, call: Call) -> None:
        self._last_arrival = self._loop.time()
        self._handle(Arrivals([(route, [call])], [], [], []))

    def _arrive_frame(self, token: int, frame: bytes | None) -> None:
        self._handle(Arrivals([], [(token, frame)], [], []))

    def _lost(self, token: int) -> None:
        self._cancelled += 1
        self._handle(Arrivals([], [], [token], []))

    def _metadata(self, context: Context) -> Metadata | None:
        values: list[str | None] | None = None
        for name, value in context.invocation_metadata() or ():
            position = self._headers.get(name)
            if position is not None and isinstance(value, str):
                values = values or [None] * len(self._headers)
                values[position] = value
        return values

    # One coroutine a call.

    def _method(self, index: int, route: Route) -> Method:
        async def unary(request: bytes, context: Context) -> bytes:
            return await self._serve_unary(index, request, context)

        async def subscription(request: bytes, context: Context) -> None:
            await self._serve_subscription(index, route.joinable, request, context)

        async def dialogue(requests: AsyncIterator[bytes], context: Context) -> None:
            await self._serve_dialogue(index, requests, context)

        make: Any = {
            "unary": lambda: grpc.unary_unary_rpc_method_handler(unary),
            "subscription": lambda: grpc.unary_stream_rpc_method_handler(subscription),
            "dialogue": lambda: grpc.stream_stream_rpc_method_handler(dialogue),
        }[route.kind]
        handler: Method = make()
        return handler

    async def _serve_unary(self, route: int, request: bytes, context: Context) -> bytes:
        token = next(self._tokens)
        future = self._unary[token] = self._loop.create_future()
        self._arrive(route, (token, request, self._metadata(context)))
        try:
            result = await future
        except asyncio.CancelledError:
            self._lost(token)
            raise
        finally:
            del self._unary[token]
        if isinstance(result, bytes):
            return result
        await abort(context, result)
        return b""

    async def _serve_subscription(self, route: int, joinable: bool, request: bytes, context: Context) -> None:
        token = next(self._tokens)
        stream = self._subscriptions[token] = Stream(joinable)
        self._arrive(route, (token, request, self._metadata(context)))
        try:
            with client_may_leave():
                await self._write(token, stream, context)
        finally:
            del self._subscriptions[token]
            self._queued -= stream.bytes
            if stream.ending is None:
                self._lost(token)
        await abort(context, stream.ending)

    async def _serve_dialogue(self, route: int, requests: AsyncIterator[bytes], context: Context) -> None:
        token = next(self._tokens)
        stream = self._dialogues[token] = Stream(joinable=False)
        self._arrive(route, (token, None, self._metadata(context)))
        reader = asyncio.create_task(self._read(token, stream, requests))
        try:
            with client_may_leave():
                await self._write(token, stream, context)
        finally:
            reader.cancel()
            del self._dialogues[token]
            self._queued -= stream.bytes
            if stream.ending is None:
                self._lost(token)
        await abort(context, stream.ending)

    async def _read(self, token: int, stream: Stream, requests: AsyncIterator[bytes]) -> None:
        async for frame in requests:
            stream.unanswered += 1
            self._arrive_frame(token, frame)
            while stream.unanswered >= self._limits.max_unanswered and stream.ending is None:
                stream.room.clear()
                await stream.room.wait()
            if stream.ending is not None:
                return
        self._arrive_frame(token, None)

    async def _write(self, token: int, stream: Stream, context: Context) -> None:
        """Write what is queued until the stream's end has been asked for and nothing is left to write."""
        announced = False
        while True:
            if stream.queue:
                announced = True  # the first frame brings the metadata with it
                frame = stream.next_frame()
                await context.write(frame)
                stream.bytes -= len(frame)
                self._queued -= len(frame)
                # Only what the client takes makes room for more of its frames (subscriptions never ask).
                stream.unanswered -= 1
                stream.room.set()
                if stream.full and stream.bytes <= stream.resume_at:
                    stream.full = False
                    self._handle(Arrivals([], [], [], [token]))
            elif stream.opened and not announced:
                announced = True
                await context.send_initial_metadata(())
            elif stream.ending is not None:
                return
            else:
                stream.wake.clear()
                if not (stream.queue or stream.ending or (stream.opened and not announced)):
                    await stream.wake.wait()


class _Routes(grpc.GenericRpcHandler):
    """Finds the method of a path; gRPC answers UNIMPLEMENTED where there is none."""

    def __init__(self, methods: dict[str, Method]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Method | None":
        return self._methods.get(handler_call_details.method)
