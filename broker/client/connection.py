"""Connecting to a broker, publishing and fetching."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from weakref import WeakSet

import grpc

from broker.client.calls import Channel, MetadataSource, channel_options
from broker.client.composer import Pending
from broker.client.errors import BrokerError
from broker.client.keys import Keys
from broker.client.messages import (
    LATEST,
    Expiry,
    Message,
    MessageId,
    NewMessage,
    Start,
    fetch_request,
    from_wire,
    key_bytes,
    publish_part,
)
from broker.client.publisher import Publisher
from broker.client.subscription import OnReconnect, Subscription

DEFAULT_TIMEOUT = 10.0
"""How long a call may take, in seconds."""

DEFAULT_MAX_MESSAGE_BYTES = 64 << 20
"""The largest frame to send or receive; the server's own limits are smaller."""

_PATIENCE = 2 / 3
"""A stream may leave messages unanswered for this share of the timeout; then those with keys are sent again."""


def connect(
    target: str,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    wait_for_ready: bool = True,
    idempotent: bool = True,
    credentials: grpc.ChannelCredentials | None = None,
    metadata: MetadataSource = (),
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
        wait_for_ready: when the server is away, wait and retry within the timeout, as long as nothing can be stored
            twice; False to fail at once.
        idempotent: give each message a key, by which the server knows it when it comes again. So it is sent again also
            when it cannot be told whether the server stored it (the connection was lost before the answer came, or the
            store was), and is stored once all the same. The server knows keys for a limited time (2 minutes by
            default): the timeout must be shorter. False: send no keys but those given to `publish`, and repeat without
            one only what certainly was not stored.
        credentials: for TLS, e.g. `grpc.ssl_channel_credentials(...)`; None for plain text.
        metadata: headers of every call, e.g. `[("x-api-key", key)]`, or a function that returns them and is asked
            before each call, e.g. for a token that is renewed: `lambda: [("authorization", f"Bearer {token()}")]`.
            It must neither block nor raise.
        max_message_bytes: the largest frame to send or receive.
        options: more gRPC channel options; they win over those of this client.
    """
    return Broker(
        target,
        timeout=timeout,
        wait_for_ready=wait_for_ready,
        idempotent=idempotent,
        credentials=credentials,
        metadata=metadata,
        # Of two options with one name, gRPC takes the first.
        options=list(dict([*channel_options(target, max_message_bytes), *options]).items()),
    )


class Broker:
    """A connection to a broker, or to the load balancer in front of many. Made by `connect`.

    One is enough for a whole process: its calls share an HTTP/2 connection. It belongs to the event loop in which it
    was entered. Leaving the `async with` waits, at most for the timeout, until every message that is being published
    has its answer; what then has none fails.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout: float,
        wait_for_ready: bool,
        idempotent: bool,
        credentials: grpc.ChannelCredentials | None,
        metadata: MetadataSource,
        options: list[tuple[str, Any]],
    ) -> None:
        self._target = target
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._keys = Keys() if idempotent else None
        self._credentials = credentials
        self._metadata = metadata
        self._options = options
        self._entered: Channel | None = None
        self._entered_publisher: Publisher | None = None
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
        self._entered = Channel(
            channel, self._target, self._timeout, wait_for_ready=self._wait_for_ready, metadata=self._metadata
        )
        # Without keys nothing is gained by giving up a stream early.
        patience = self._timeout * _PATIENCE if self._keys else self._timeout
        self._entered_publisher = Publisher(self._entered, patience=patience)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._publisher.close(self._timeout)
        finally:
            for subscription in list(self._subscriptions):
                await subscription.close()
            await self._resources.aclose()

    async def publish(
        self,
        subject: str,
        body: bytes,
        *,
        expires: Expiry = 0,
        key: bytes | str | None = None,
        headers: Mapping[str, bytes] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - also of waiting for room and of all attempts
    ) -> MessageId:
        """Publish one message and return its id, once the broker has committed it.

        Call it from many tasks at once: the messages that come together travel together. Those of one subject keep the
        order of their calls. When too many wait for their answers, it waits for room.

        When it is cancelled before the message was sent, the message is dropped; after that it is left alone.

        Args:
            subject: 1 to 255 bytes of text.
            body: any bytes, up to the server's limit.
            expires: how long it can be fetched and replayed, a timedelta or seconds, rounded up to whole seconds;
                0: it is delivered to the present subscribers and never stored.
            key: a name for this message, up to 255 bytes, by which the server knows it when it comes again, from this
                or another process: within the server's window (2 minutes by default) the same key on the same subject
                publishes nothing, and the first id is returned with `duplicate` set. Without one, a key of its own is
                made for each call (see `connect`).
            headers: travel with the message; names and values together up to the server's limit (8 KiB by default).
            timeout: in seconds, instead of the connection's, for everything together.

        Raises:
            InvalidRequest: of the subject, the size, the key, the headers, or the expiry.
            LimitReached: the broker has no room; nothing was stored. It is not repeated here, since that adds to the
                load: try again later, with growing pauses, or publish less.
            RateLimited: a rate limit has no room within the timeout; nothing was stored. Until then the message waits
                for as long as the load balancer asks, and so do those of its subject behind it.
            Unavailable: it is away; nothing was stored.
            OutcomeUnknown, DeadlineExceeded: no answer came; unless the error says that nothing was stored, the message
                may or may not be. With a `key` of your own, publish it again.
        """
        publisher = self._publisher
        return await publisher.answer(await self._hand_over(publisher, subject, body, expires, key, headers, timeout))

    async def publish_many(
        self,
        messages: Iterable[NewMessage],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> list[MessageId | BrokerError]:
        """Publish many messages, in their order; see `publish`.

        Args:
            messages: on any subjects. They are taken as there is room for them, so they may be made meanwhile.
            timeout: of each message in seconds, from when it is taken, instead of the connection's.

        Returns:
            For each message its id, or the error that refused it; one message's error does not fail its neighbours.
            Only when a rate limit has no room for one within its timeout, those of its subject that wait behind it are
            refused as well, so that they do not overtake it.
        """
        publisher = self._publisher
        pending: list[Pending | BrokerError] = []
        results: list[MessageId | BrokerError] = []
        try:
            for each in messages:
                try:
                    message = (each.subject, each.body, each.expires, each.key, each.headers)
                    pending.append(await self._hand_over(publisher, *message, timeout))
                except BrokerError as error:
                    pending.append(error)
            for one in pending:
                try:
                    results.append(one if isinstance(one, BrokerError) else await publisher.answer(one))
                except BrokerError as error:
                    results.append(error)
        finally:
            for one in pending[len(results) :]:
                if not isinstance(one, BrokerError):
                    publisher.cancel(one)
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
            raise RuntimeError(_NOT_ENTERED)
        return self._entered

    @property
    def _publisher(self) -> Publisher:
        if self._entered_publisher is None:
            raise RuntimeError(_NOT_ENTERED)
        return self._entered_publisher

    async def _hand_over(
        self,
        publisher: Publisher,
        subject: str,
        body: bytes,
        expires: Expiry,
        key: bytes | str | None,
        headers: Mapping[str, bytes] | None,
        timeout: float | None,  # noqa: ASYNC109
    ) -> Pending:
        named = key is not None
        wire_key = key_bytes(key) if key is not None else self._keys.next() if self._keys else b""
        part = publish_part(subject, body, expires, wire_key, headers)
        limit = self._timeout if timeout is None else timeout
        return await publisher.hand_over(subject, part, limit, keyed=bool(wire_key), named=named)


_NOT_ENTERED = 'not connected: use `async with connect("host:port") as broker:`'
