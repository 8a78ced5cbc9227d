"""The seam between whatever speaks gRPC and the service: bytes and tokens, in lists.

A door accepts calls, gives each a token (an integer it never uses again), and hands the service everything that has
queued in one `Arrivals`. The service answers in lists, at any later time, from the event loop. The door knows HTTP/2,
gRPC framing and flow control; it knows nothing of protobuf messages, subjects, ids or limits of the broker.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

RouteKind = Literal["unary", "subscription", "dialogue"]
"""One request and one answer; one request and many frames; frames both ways."""


class Route(NamedTuple):
    """A method that a door serves; its position in the list of routes names it in `Arrivals`."""

    path: str
    """As in the HTTP/2 request, e.g. "/broker.Broker/Publish"."""
    kind: RouteKind
    joinable: bool = False
    """Whether frames of a subscription may be joined end to end to one: true of protobuf messages that hold nothing
    but a repeated field. A door that pays per frame may use it; none has to."""


Metadata = Sequence[str | None]
"""The values of the request headers that the service asked for, in its order."""


Call = tuple[int, bytes | None, Metadata | None]
"""A call that arrived: token, request message, metadata (None when the request has none of what was asked for).

A dialogue's first frame comes as a frame, so its request is None. A plain tuple, because a hundred thousand of them may
arrive in a second.
"""


class Arrivals(NamedTuple):
    """What came in since the last time, to be handled in this order."""

    calls: list[tuple[int, list[Call]]]
    """By route."""
    frames: list[tuple[int, bytes | None]]
    """Frames of dialogues; None when the client has sent its last."""
    gone: list[int]
    """Calls that the client or the connection ended. May name calls that are already answered."""
    writable: list[int]
    """Subscriptions that were refused for being full and have room again."""


Answer = tuple[int, bytes]
"""Token and response message."""

Trailers = Sequence[tuple[str, str]]
"""Names, in lower case, and values of trailing metadata."""

Ending = tuple[int, int, str, bytes, Trailers]
"""Token, status code, message, the serialized google.rpc.Status for grpc-status-details-bin (may be empty), and what
else travels in the trailers."""

Handler = Callable[[Arrivals], None]


class Credentials(NamedTuple):
    """What a door needs for TLS, in PEM."""

    certificate: bytes
    """And those between it and its authority."""
    key: bytes
    client_ca: bytes | None
    """Authorities, of one of which clients must show a certificate; None: clients need none. A door that has them keeps
    asking for certificates: they may change, but neither come nor go."""


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """The bounds of a door: sizes in bytes, times in seconds."""

    max_request: int = 4 << 20
    """A larger request message is refused: by the native door with INVALID_ARGUMENT, by gRPC itself with
    RESOURCE_EXHAUSTED."""
    max_received: int = 128 << 20
    """Requests that have not been handed over yet; more calls are refused, streams held back (native door)."""
    max_stream_queue: int = 1 << 20
    """What may wait for one subscriber."""
    max_stream_frames: int = 4096
    """Frames that may wait for one subscriber, whatever their size."""
    max_unanswered: int = 16
    """Frames of a dialogue that may wait for their answers to be taken; HTTP/2 flow control holds the client back."""
    max_queued: int = 128 << 20
    """What may wait for all subscribers together; beyond it those who have something waiting get no more, and (native
    door) at twice as much only small frames reach those who have nothing waiting."""
    max_connections: int = 10_000
    """More are closed as soon as they are made."""
    max_streams: int = 4096
    """Calls at one time on one connection; HTTP/2 lets clients know, and more wait there."""
    max_calls: int = 100_000
    """Calls that may stand at one time, and as many whose requests are still arriving (native door)."""
    max_queued_calls: int = 100_000
    """Calls that may wait to be handed over; more are refused: by the native door with RESOURCE_EXHAUSTED, by
    gRPC itself with CANCELLED."""
    request_timeout: float = 30
    """What a request message may take to arrive, whatever the deadline of its call (native door)."""
    keepalive_time: float = 30
    """Silence after which a client is pinged; 0: never."""
    keepalive_timeout: float = 10
    """What a client may take to answer a ping; then its connection is closed."""
    keepalive_min_interval: float = 5
    """Between pings of a client that sends nothing else; one that pings more often is told ENHANCE_YOUR_CALM in a
    GOAWAY and closed. 0: as often as it likes."""
    max_connection_age: float = 0
    """After so long, give or take a tenth, a connection gets a GOAWAY; 0: never."""
    max_connection_age_grace: float = 30
    """What calls on such a connection may take to end; then it is closed. 0: as long as they like."""


class Door(Protocol):
    """What the service may ask of a door. Unknown tokens are ignored everywhere: the call is gone."""

    def answer(self, answers: list[Answer]) -> None:
        """Answer unary calls with OK."""

    def open(self, tokens: list[int]) -> None:
        """Send the initial metadata of subscriptions and dialogues now."""

    def send(self, frames: list[bytes], tokens: list[int]) -> list[int]:
        """Queue the same frames for several streams.

        Returns:
            The subscriptions whose queue is full: they got none of the frames, and get none until they have been
            reported writable. Dialogues are never full: what they may have unanswered is bounded on the way in.
        """

    def finish(self, endings: list[Ending]) -> None:
        """End calls and streams with a status, after what is queued for them."""


class DoorServer(Door, Protocol):
    """A door that can be opened, watched and closed."""

    @property
    def name(self) -> str:
        """How logs and metrics call it."""

    async def start(self, handle: Handler) -> str:
        """Listen, and hand arrivals to `handle` on the running event loop.

        Returns:
            The address it listens on.

        Raises:
            OSError: the address cannot be listened on.
        """

    def counters(self) -> Mapping[str, int]:
        """Return what the door counts, by the names of `broker.telemetry.door`; it may count less than all of it."""

    def set_tls(self, credentials: Credentials) -> None:
        """Let new connections use these from now on; standing ones stay as they are.

        Raises:
            ValueError: they cannot be used, and those before them stay in use; the message says why.
        """

    async def stop(self, grace: float) -> None:
        """Accept nothing more, wait up to `grace` seconds for calls to end, then cut them off."""
