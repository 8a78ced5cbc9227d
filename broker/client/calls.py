"""The calls of the broker over one gRPC channel, with their retries and errors."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import grpc

from broker.api import broker_pb2
from broker.backoff import Backoff
from broker.client.errors import BrokerError, DeadlineExceeded, RateLimited, Unavailable, from_rpc

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)
PublishBatchCall = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
PublishStreamCall = grpc.aio.StreamStreamMultiCallable[bytes, bytes]
SubscribeCall = grpc.aio.UnaryStreamMultiCallable[broker_pb2.SubscribeRequest, broker_pb2.MessageBatch]

Metadata = Sequence[tuple[str, str]]
"""Names, in lower case, and values of headers."""
MetadataSource = Metadata | Callable[[], Metadata]
"""Headers, or a function that is asked for them before each call: tokens expire."""


def channel_options(target: str, max_message_bytes: int) -> list[tuple[str, Any]]:
    """Return the options that every channel of this client to this target has."""
    return [
        *_authority(target),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A connection that died without a word is found within 40 s, also when nothing is published.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # What keepalive_timeout_ms is said to be; without it, a minute.
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # After a restart of the server the channel is back in well under a second, and never asleep for two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.service_config_disable_resolution", 1),
    ]


def _authority(target: str) -> list[tuple[str, Any]]:
    """Return what names one host where there are several ("ipv4:A:1,B:2"): gRPC names all of them, which is no name."""
    first, comma, _ = target.partition(",")
    return [("grpc.default_authority", first.partition(":")[2].lstrip("/"))] if comma else []


class UnaryCall(Generic[Request, Response]):
    """One unary method that only reads, so that it may be called again."""

    def __init__(self, channel: "Channel", method: str, request: type[Any], response: type[Any]) -> None:
        self._channel = channel
        self._call: grpc.aio.UnaryUnaryMultiCallable[Request, Response] = channel.grpc.unary_unary(
            f"/broker.Broker/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    async def __call__(self, request: Request, timeout: float | None) -> Response:  # noqa: ASYNC109
        """Call, and call again while the server is away and time is left."""
        clock = asyncio.get_running_loop().time
        limit = self._channel.timeout if timeout is None else timeout
        deadline = clock() + limit
        backoff = Backoff(first=0.05, longest=1.0)
        patient = self._channel.wait_for_ready
        while True:
            try:
                response: Response = await self._call(
                    request, timeout=deadline - clock(), wait_for_ready=patient, metadata=self._channel.metadata()
                )
            except grpc.aio.AioRpcError as failure:
                error = self._channel.error(failure, limit, idempotent=True)
                pause = backoff.next(error.retry_after)
                again = patient and isinstance(error, Unavailable | RateLimited) and error.retriable
                if not again or clock() + pause >= deadline:
                    raise error from failure
                await asyncio.sleep(pause)
            else:
                return response


class Channel:
    """A gRPC channel to one broker (or to the load balancer in front of many).

    Attributes:
        target: the address it was made for.
        timeout: of a call that names none, in seconds.
        wait_for_ready: whether calls wait for a server that is away.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        target: str,
        timeout: float,
        *,
        wait_for_ready: bool,
        metadata: MetadataSource = (),
    ) -> None:
        self.grpc = channel
        self._metadata = metadata
        self.target = target
        self.timeout = timeout
        self.wait_for_ready = wait_for_ready
        pb = broker_pb2
        # Frames are bytes already, and their answers are read where they are needed.
        self.publish_batch: PublishBatchCall = channel.unary_unary("/broker.Broker/PublishBatch")
        self.publish_stream: PublishStreamCall = channel.stream_stream("/broker.Broker/PublishStream")
        self.fetch: UnaryCall[pb.FetchRequest, pb.Message] = UnaryCall(self, "Fetch", pb.FetchRequest, pb.Message)
        self.subscribe_batch: SubscribeCall = channel.unary_stream(
            "/broker.Broker/SubscribeBatch",
            request_serializer=pb.SubscribeRequest.SerializeToString,
            response_deserializer=pb.MessageBatch.FromString,
        )

    def metadata(self) -> Metadata:
        """Return the headers to send with a call."""
        return self._metadata() if callable(self._metadata) else self._metadata

    @property
    def connected(self) -> bool:
        """Whether there is a connection; if there is none, one is attempted."""
        return self.grpc.get_state(try_to_connect=True) is _READY

    def error(self, failure: grpc.aio.AioRpcError, limit: float, *, idempotent: bool) -> BrokerError:
        """Return the client's error for what grpc raised after at most `limit` seconds."""
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not self.connected:
            return DeadlineExceeded(
                "NOT_CONNECTED", self.no_connection(limit), code=failure.code(), retriable=idempotent
            )
        return from_rpc(failure, self.target, idempotent=idempotent)

    def no_connection(self, limit: float) -> str:
        """Return the sentence for a server that could not be reached in time."""
        return f"no connection to {self.target} within {limit:g} s: is a broker running there?"


_READY = grpc.ChannelConnectivity.READY
