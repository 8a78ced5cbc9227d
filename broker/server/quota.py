"""Rate limits for frames: the proxy that carries a PublishBatch or PublishStream is asked for each subject of a frame.

Of a stream a proxy sees only the first frame, and of a frame not who pays for what. So it charges neither, and says
with each call where it can be asked: there the same buckets count as for calls that it charges itself. Only a proxy of
ours may name such an address: see --trust-proxy.
"""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter

from broker.api.broker_pb2 import PublishBatchRequest, PublishRequest
from broker.errors import LimitReached
from broker.server.asking import ClientTls, Proxies, Reply, Unreachable
from broker.server.charging import Room, Rooms
from broker.server.door import Metadata
from broker.server.headers import ADDRESS, API_KEY, CERTIFICATE, CLIENT, NAMES, QUOTA, TOKEN
from broker.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20
"""Frames that wait for answers; more are refused."""
LEAST_WAIT = 1.0
"""Seconds: what is refused is not tried again sooner, as the proxy tells clients whose calls it refuses itself."""

_IDENTITY = (ADDRESS, CLIENT, CERTIFICATE, TOKEN, API_KEY)
_EXHAUSTED = "8"


Costs = Mapping[str, int]
"""Messages by subject."""


class Quota:
    """Asks proxies for room, and bounds what waits meanwhile."""

    def __init__(self, metrics: Metrics, tls: ClientTls) -> None:
        self._metrics = metrics
        self._proxies = Proxies(tls)
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def payer(self, path: str, metadata: Metadata | None) -> "Payer | None":
        """Return who pays for a call's frames; None where no limit is to be asked for."""
        # Where no proxy is trusted, metadata ends before.
        if metadata is None or len(metadata) <= QUOTA or not metadata[QUOTA]:
            return None
        return Payer(self, metadata[QUOTA] or "", _head(path, metadata))

    async def settled(self) -> None:
        """Wait until nothing waits for an answer."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Close the connections."""
        self._proxies.close()

    def take_in(self, size: int) -> None:
        """Count a frame that waits.

        Raises:
            LimitReached: too many do.
        """
        if self._waiting and self._waiting + size > MAX_WAITING_BYTES:
            text = f"{MAX_WAITING_BYTES} bytes of frames wait for the proxy's answers: try again later"
            metadata = {"limit": "quota-queue-bytes", "value": str(MAX_WAITING_BYTES)}
            raise LimitReached("QUOTA_QUEUE_FULL", text, metadata, retry_after=LEAST_WAIT)
        self._waiting += size

    def let_go(self, size: int) -> None:
        """Count it no more."""
        self._waiting -= size

    def start(self, task: "asyncio.Task[None]") -> None:
        """Keep a task until it ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def rooms(self, address: str, head: str, costs: Costs) -> Rooms:
        """Return what a proxy's limits say to messages."""
        if len(costs) == 1:
            ((subject, cost),) = costs.items()
            return {subject: await self._room(address, head, subject, cost)}
        found = await asyncio.gather(*(self._room(address, head, subject, cost) for subject, cost in costs.items()))
        return dict(zip(costs, found, strict=True))

    async def _room(self, address: str, head: str, subject: str, cost: int) -> Room:
        """Ask for all messages of a subject; where there is no room for all, for as many as there may be."""
        wait, asked = LEAST_WAIT, cost
        try:
            while asked:
                reply = await self._ask(address, _question(head, subject, asked))
                wait = max(wait, _number(reply, "x-ratelimit-reset"))
                if "x-broker-admitted" in reply.headers:
                    self._metrics.quota_admitted.inc()
                    return Room(asked, _no_room(subject, wait) if asked < cost else None)
                if reply.headers.get("grpc-status") != _EXHAUSTED:
                    raise Unreachable(address, f"it said {reply.status} {reply.headers.get('grpc-message', '')}")
                self._metrics.quota_refused.inc()
                left = int(_number(reply, "x-ratelimit-remaining"))
                # Where several proxies share a limit, a message takes several of what is left.
                asked = min(left, asked // 2 if left >= asked else left)
            return Room(0, _no_room(subject, wait))
        except Unreachable as error:
            self._metrics.quota_failed.inc()
            return Room(0, error)

    async def _ask(self, address: str, question: bytes) -> Reply:
        began = perf_counter()
        try:
            return await self._proxies.ask(address, question)
        finally:
            self._metrics.quota_seconds.observe(perf_counter() - began)


def _head(path: str, metadata: Metadata) -> str:
    """Return the beginning of all questions about a call: with the headers that the proxy has set itself."""
    lines = [f"POST {path} HTTP/1.1", "host: quota", "content-type: application/grpc"]
    for place in _IDENTITY:
        value = metadata[place]
        # No door lets such a value in; here it would begin another header.
        if value is not None and "\r" not in value and "\n" not in value:
            lines.append(f"{NAMES[place]}: {value}")
    return "\r\n".join(lines)


def _question(head: str, subject: str, cost: int) -> bytes:
    messages = [PublishRequest(subject=subject)] if subject else []
    body = PublishBatchRequest(messages=messages).SerializeToString()
    frame = b"\0" + len(body).to_bytes(4) + body
    return f"{head}\r\nx-broker-cost: {cost}\r\ncontent-length: {len(frame)}\r\n\r\n".encode() + frame


def _number(reply: Reply, name: str) -> float:
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(reply.headers.get(name, 0))):
            return number
    return 0.0


def _no_room(subject: str, wait: float) -> LimitReached:
    text = f"a rate limit has no room for more messages on {subject!r}: send fewer, or try again later"
    return LimitReached("RATE_LIMITED", text, {"subject": subject}, retry_after=wait)


class Payer:
    """One call, whose frames are charged in their order."""

    def __init__(self, quota: Quota, address: str, head: str) -> None:
        self._quota = quota
        self._address = address
        self._head = head
        self._frames: deque[tuple[Costs, int, Callable[[Rooms], None]]] = deque()
        self._busy = False

    def charge(self, costs: Costs, size: int, done: Callable[[Rooms], None]) -> None:
        """Charge a frame of so many bytes; `done` gets what came of it, after those of the frames before.

        Raises:
            LimitReached: too many frames wait.
        """
        self._quota.take_in(size)
        # A frame without a message that could be published is not free either.
        self._frames.append((costs or {"": 1}, size, done))
        if not self._busy:
            self._busy = True
            self._quota.start(asyncio.get_running_loop().create_task(self._charge()))

    async def _charge(self) -> None:
        try:
            while self._frames:
                costs, size, done = self._frames.popleft()
                try:
                    done(await self._quota.rooms(self._address, self._head, costs))
                finally:
                    self._quota.let_go(size)
        finally:
            self._busy = False
