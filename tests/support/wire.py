"""The broker's calls as bytes and generated messages: what tests of the wire contract speak, without the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message as ProtoMessage
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from broker.api import broker_pb2 as pb

HOUR = 3600
LIMIT = 10.0
"""Seconds after which a broken broker has hung a test for long enough."""

Headers = Iterable[tuple[str, str]]

SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
"""Options of a client that lets little be sent ahead of its reading, so that a slow reader is soon felt."""


@dataclass(frozen=True)
class Failure:
    """How a call failed, with what its status details say."""

    code: grpc.StatusCode
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict, compare=False)
    message: str = field(default="", compare=False)
    retry_after: float | None = field(default=None, compare=False)
    """Seconds."""

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Failure:
        """Read a failed call; its details must agree with its status."""
        trailers = dict(error.trailing_metadata() or ())
        details = trailers.get("grpc-status-details-bin")
        if details is None:
            return cls(error.code(), message=error.details() or "")
        status = Status.FromString(details)
        assert status.code == error.code().value[0]
        assert status.message == error.details()
        info, retry = ErrorInfo(), RetryInfo()
        assert status.details[0].Unpack(info)
        again = None
        if len(status.details) > 1:
            assert len(status.details) == 2
            assert status.details[1].Unpack(retry)
            again = retry.retry_delay.ToTimedelta().total_seconds()
        pushback = trailers.get("grpc-retry-pushback-ms")
        assert pushback == (None if again is None else str(round(again * 1000)))
        return cls(error.code(), info.reason, info.domain, dict(info.metadata), status.message, again)


def message(
    subject: str,
    body: bytes = b"",
    expires: int = HOUR,
    *,
    key: bytes = b"",
    headers: Mapping[str, bytes] | None = None,
) -> pb.PublishRequest:
    """One message to publish."""
    return pb.PublishRequest(
        subject=subject, body=body, expirationSeconds=expires, message_key=key, headers=headers or {}
    )


def frame(messages: Iterable[pb.PublishRequest]) -> bytes:
    """A frame of messages."""
    return pb.PublishBatchRequest(messages=messages).SerializeToString()


class Subscription:
    """A Subscribe or SubscribeBatch whose messages are taken one by one."""

    def __init__(self, call: Any, *, batch: bool) -> None:
        self.call = call
        self._batch = batch
        self._ahead: list[pb.Message] = []
        self.position: int | None = None
        """The last id as it began, if it was told before the first message."""
        self._begun = False

    async def stands(self) -> Subscription:
        """Wait for the initial metadata."""
        await asyncio.wait_for(self.call.initial_metadata(), LIMIT)
        # An error before that ends the call without: its status comes with the first read.
        return self

    async def next(self) -> pb.Message:
        """The next message.

        Raises:
            grpc.aio.AioRpcError: the stream ended with an error.
        """
        while not self._ahead:
            data = await asyncio.wait_for(self.call.read(), LIMIT)
            if data is grpc.aio.EOF:
                raise AssertionError("the stream ended with OK")
            self._ahead = self._messages(data)
        return self._ahead.pop(0)

    async def take(self, count: int) -> list[pb.Message]:
        """The next messages."""
        return [await self.next() for _ in range(count)]

    async def until(self, message_id: int) -> list[pb.Message]:
        """All messages up to the one with this id."""
        messages = [await self.next()]
        while messages[-1].id < message_id:
            messages.append(await self.next())
        return messages

    async def ids_until(self, message_id: int) -> list[int]:
        """The ids of all messages up to this one."""
        return [got.id for got in await self.until(message_id)]

    async def failure(self) -> Failure:
        """Read to the end, and say how it failed."""
        while True:
            try:
                await self.next()
            except grpc.aio.AioRpcError as error:
                return Failure.of(error)

    def cancel(self) -> None:
        self.call.cancel()

    def _messages(self, data: bytes) -> list[pb.Message]:
        if not self._batch:
            return [pb.Message.FromString(data)]
        frame = pb.MessageBatch.FromString(data)
        assert frame.messages or frame.HasField("position"), "a frame that tells nothing"
        if frame.HasField("position") and not self._begun:
            assert self.position is None, "a position is told once"
            self.position = frame.position
        self._begun = self._begun or bool(frame.messages)
        return list(frame.messages)


class Frames:
    """A PublishStream: frames out, responses in."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, *messages: pb.PublishRequest) -> None:
        await self.send_bytes(frame(messages))

    async def send_bytes(self, data: bytes) -> None:
        """Send a frame; whether the stream has ended is for `receive` to say."""
        with suppress(asyncio.InvalidStateError):
            await self.call.write(data)

    async def receive(self) -> pb.PublishBatchResponse | None:
        """The next response; None when the stream ended with OK."""
        data = await asyncio.wait_for(self.call.read(), LIMIT)
        return None if data is grpc.aio.EOF else pb.PublishBatchResponse.FromString(data)

    async def close(self) -> None:
        await self.call.done_writing()

    async def failure(self) -> Failure:
        """Read to the end, and say how it failed."""
        try:
            while await self.receive() is not None:
                pass
        except grpc.aio.AioRpcError as error:
            return Failure.of(error)
        raise AssertionError("the stream ended with OK")


class Wire:
    """All calls on one connection."""

    def __init__(self, channel: grpc.aio.Channel, headers: Headers = ()) -> None:
        self.channel = channel
        self._headers = tuple(headers)

    async def raw(self, method: str, data: bytes, **options: Any) -> bytes:
        """A unary call, bytes to bytes; `method` without a slash is of the broker's service."""
        call = self.channel.unary_unary(_path(method))
        return bytes(await call(data, timeout=LIMIT, **{"metadata": self._headers, **options}))

    async def failure(self, method: str, request: ProtoMessage | bytes) -> Failure:
        """How a call that must fail fails, whatever kind of call it is."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        try:
            if method in ("Subscribe", "SubscribeBatch"):
                await asyncio.wait_for(
                    self.channel.unary_stream(_path(method))(data, metadata=self._headers).read(), LIMIT
                )
            else:
                await self.raw(method, data)
        except grpc.aio.AioRpcError as error:
            return Failure.of(error)
        raise AssertionError(f"{method} succeeded")

    async def publish(self, subject: str, body: bytes = b"", expires: int = HOUR) -> int:
        data = await self.raw("Publish", message(subject, body, expires).SerializeToString())
        return pb.PublishResponse.FromString(data).id

    async def publish_batch(self, messages: Iterable[pb.PublishRequest]) -> pb.PublishBatchResponse:
        return pb.PublishBatchResponse.FromString(await self.raw("PublishBatch", frame(messages)))

    def publish_stream(self) -> Frames:
        return Frames(self.channel.stream_stream("/broker.Broker/PublishStream")(metadata=self._headers))

    async def fetch(self, subject: str, message_id: int) -> pb.Message:
        request = pb.FetchRequest(subject=subject, id=message_id)
        return pb.Message.FromString(await self.raw("Fetch", request.SerializeToString()))

    def subscribe(self, subject: str, *, batch: bool = False, **start: Any) -> Subscription:
        """Begin a subscription; `start` is one of after_id, since, earliest."""
        request = pb.SubscribeRequest(subject=subject, **start).SerializeToString()
        call = self.channel.unary_stream(_path("SubscribeBatch" if batch else "Subscribe"))(
            request, metadata=self._headers
        )
        return Subscription(call, batch=batch)

    async def subscribed(self, subject: str, *, batch: bool = False, **start: Any) -> Subscription:
        """A subscription that stands."""
        return await self.subscribe(subject, batch=batch, **start).stands()


def _path(method: str) -> str:
    return method if "/" in method else f"/broker.Broker/{method}"


@asynccontextmanager
async def wire(
    address: str,
    *options: tuple[str, Any],
    credentials: grpc.ChannelCredentials | None = None,
    headers: Headers = (),
) -> AsyncIterator[Wire]:
    """A connection of its own to a broker, closed with all its calls at the end; each call has these headers."""
    channel_options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        *options,
    ]
    made = (
        grpc.aio.insecure_channel(address, options=channel_options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options=channel_options)
    )
    async with made as channel:
        yield Wire(channel, headers)
