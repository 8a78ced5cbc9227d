"""Connecting to a broker, publishing and fetching."""

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from weakref import WeakSet

import grpc

from broker.api import broker_pb2
from broker.client.calls import Channel, channel_options
from broker.client.errors import BrokerError, build
from broker.client.messages import (
    LATEST,
    Expiry,
    Message,
    NewMessage,
    Start,
    fetch_request,
    from_wire,
    publish_request,
)
from broker.client.subscription import OnReconnect, Subscription

DEFAULT_TIMEOUT = 10.0
"""How long a call may take, in seconds."""

DEFAULT_MAX_MESSAGE_BYTES = 64 << 20
"""The largest frame to send or receive; the server's own limits are smaller."""

_FRAME_MESSAGES = 500
_FRAME_BYTES = 512 << 10


def connect(
    target: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    wait_for_ready: bool = True,
    credentials: grpc.ChannelCredentials | None = None,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    options: Sequence[tuple[str, Any]] = (),
) -> "Broker":
    """Return a broker to use in `async with`. No connection is made before the first call.

    Example:

        import asyncio
        from broker.client import connect

        async def main() -> None:
            async with connect("127.0.0.1:50051") as broker:
                message_id = await broker.publish("greetings", b"hello", expires=3600)
                message = await broker.fetch("greetings", message_id)
                print(message.id, message.body.decode())  # 1 hello

        asyncio.run(main())

    Args:
        target: "host:port", or any other target that gRPC knows.
        timeout: how long a call may take, in seconds, waiting and retries included.
        wait_for_ready: when the server is away, wait and retry within the timeout, as long as it is sure that nothing
            was stored (no connection, or the server said so); False to fail at once.
        credentials: for TLS, e.g. `grpc.ssl_channel_credentials(...)`; None for plain text.
        max_message_bytes: the largest frame to send or receive.
        options: more gRPC channel options; they win over those of this client.
    """
    return Broker(
        target,
        timeout=timeout,
        wait_for_ready=wait_for_ready,
        credentials=credentials,
        options=[*channel_options(max_message_bytes), *options],
    )


class Broker:
    """A connection to a broker, or to the load balancer in front of many. Made by `connect`.

    One is enough for a whole process: its calls share an HTTP/2 connection. It belongs to the event loop in which it
    was entered.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float,
        wait_for_ready: bool,
        credentials: grpc.ChannelCredentials | None,
        options: list[tuple[str, Any]],
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._credentials = credentials
        self._options = options
        self._entered: Channel | None = None
        self._resources = AsyncExitStack()
        self._subscriptions: WeakSet[Subscription] = WeakSet()

    async def __aenter__(self) -> Self:
        if self._entered is not None:
            msg = "this broker is in use already: call connect() once for each `async with`"
            raise RuntimeError(msg)
        if self._credentials is None:
            channel = grpc.aio.insecure_channel(self._target, options=self._options)
        else:
            channel = grpc.aio.secure_channel(self._target, self._credentials, options=self._options)
        await self._resources.enter_async_context(channel)
        self._entered = Channel(channel, self._target, self._timeout, wait_for_ready=self._wait_for_ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self._resources.aclose()

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        expires: Expiry = 0,
        timeout: float | None = None,  # noqa: ASYNC109 - a deadline on the wire, not only here
    ) -> int:
        """Publish one message and return its id, once the broker has committed it.

        Repeated by itself only while nothing can be stored twice (see `connect`).

        Args:
            subject: 1 to 255 bytes of text.
            body: any bytes, up to the server's limit.
            expires: how long it can be fetched and replayed, a timedelta or seconds, rounded up to whole seconds;
                0: it is delivered to the present subscribers and never stored.
            timeout: in seconds, instead of the connection's.

        Raises:
            InvalidRequest: of the subject, the size, or the expiry.
            LimitReached: the broker has no room or is asked too fast; try again later.
            Unavailable: it is away; nothing was stored.
            OutcomeUnknown, DeadlineExceeded: no answer came; the message may or may not be stored.
        """
        request = publish_request(subject, body, expires)
        response = await self._channel.publish(request, timeout)
        return response.id

    async def publish_many(
        self,
        messages: Iterable[NewMessage],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[int | BrokerError]:
        """Publish many messages, in their order, with few calls.

        Args:
            messages: on any subjects; cut into frames of a fit size.
            timeout: of each frame in seconds, instead of the connection's.

        Returns:
            For each message its id, or the error that refused it; one message's error does not fail its neighbours.

        Raises:
            InvalidRequest: a message cannot be sent at all; nothing was published.
        """
        requests = [publish_request(message.subject, message.body, message.expires) for message in messages]
        results: list[int | BrokerError] = []
        for frame in _frames(requests):
            results += await self._publish_frame(frame, timeout)
        return results

    async def fetch(
        self,
        subject: str,
        message_id: int,
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Message:
        """Return a message by its id.

        Raises:
            MessageNotFound: there is none with this id, it has expired, or it was never stored.
            InvalidRequest: of the subject.
            Unavailable, LimitReached, DeadlineExceeded: try again later.
        """
        return from_wire(await self._channel.fetch(fetch_request(subject, message_id), timeout))

    def subscribe(
        self, subject: str, *, start: Start = LATEST, on_reconnect: OnReconnect | None = None
    ) -> Subscription:
        """Return a subscription: iterate over it, with or without `async with` (see Subscription).

        Example:

            import asyncio
            from broker.client import connect

            async def main() -> None:
                async with connect("127.0.0.1:50051") as broker:
                    async with broker.subscribe("greetings") as greetings:
                        await broker.publish("greetings", b"hello, subscribers")
                        async for message in greetings:
                            print(message.body.decode())  # hello, subscribers
                            break

            asyncio.run(main())

        Args:
            subject: whose messages.
            start: LATEST, EARLIEST, `after_id(41)` or `since(datetime)`.
            on_reconnect: called with the error that ended the connection, each time it stands again.

        Raises (when it is opened, or while iterating):
            InvalidRequest: of the subject or the start.
            LimitReached: the server has as many subscriptions as it takes.
            Unavailable: the broker could not be reached within the timeout. Once the subscription stood, it connects
                again instead.
        """
        subscription = Subscription(self._channel, subject, start, on_reconnect)
        self._subscriptions.add(subscription)
        return subscription

    @property
    def _channel(self) -> Channel:
        if self._entered is None:
            msg = 'not connected: use `async with connect("host:port") as broker:`'
            raise RuntimeError(msg)
        return self._entered

    async def _publish_frame(
        self,
        frame: list[broker_pb2.PublishRequest],
        timeout: float | None,  # noqa: ASYNC109
    ) -> list[int | BrokerError]:
        try:
            response = await self._channel.publish_batch(broker_pb2.PublishBatchRequest(messages=frame), timeout)
        except BrokerError as error:
            return [error] * len(frame)
        results: list[int | BrokerError] = list(response.ids)
        for refused in response.errors:
            code = _STATUS_CODES.get(refused.code, grpc.StatusCode.UNKNOWN)
            results[refused.index] = build(code, refused.reason, refused.message)
        return results


_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _frames(requests: list[broker_pb2.PublishRequest]) -> Iterable[list[broker_pb2.PublishRequest]]:
    """Cut messages into frames that every server takes."""
    frame: list[broker_pb2.PublishRequest] = []
    size = 0
    for request in requests:
        bytes_more = request.ByteSize()
        if frame and (len(frame) >= _FRAME_MESSAGES or size + bytes_more > _FRAME_BYTES):
            yield frame
            frame, size = [], 0
        frame.append(request)
        size += bytes_more
    if frame:
        yield frame
