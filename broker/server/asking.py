"""Asking a proxy over HTTP/1.1: a few connections, one question at a time on each.

Where proxies and brokers prove themselves to each other, over TLS. Envoy takes many questions at once on one connection
for an attack, so nothing is sent before the last answer is there.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from broker.errors import Unavailable

MAX_CONNECTIONS = 16
"""To one proxy."""
MAX_PROXIES = 256
"""Those that were not asked for longest are forgotten: their addresses come and go."""
PATIENCE = 2.0
"""Seconds for a question, from its place in the queue to its answer."""
MAX_HEAD_BYTES = 16 << 10

_END = b"\r\n\r\n"


ClientTls = Callable[[], ssl.SSLContext | None]


class Unreachable(Unavailable):
    """The proxy that carried a call cannot be asked whether its rate limits have room."""

    def __init__(self, address: str, why: str) -> None:
        text = f"the proxy at {address} cannot be asked whether its rate limits have room ({why}): try again later"
        super().__init__("QUOTA_UNREACHABLE", text, {"proxy": address}, retry_after=0.5)


class Reply(NamedTuple):
    """An answer without a body."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""


class Proxies:
    """The connections to all proxies that were asked lately.

    Args:
        tls: what new connections speak TLS by; None, and they speak plain text.
    """

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls
        self._pools: dict[str, _Pool] = {}

    async def ask(self, address: str, question: bytes) -> Reply:
        """Send a question, a whole HTTP request, to IP:PORT, and return the answer.

        Raises:
            Unreachable: there was none.
        """
        pool = self._pools.pop(address, None) or _Pool(address, self._tls)
        self._pools[address] = pool  # the last, now
        while len(self._pools) > MAX_PROXIES:
            self._pools.pop(next(iter(self._pools))).close()
        try:
            async with asyncio.timeout(PATIENCE):
                return await pool.ask(question)
        except TimeoutError:
            raise Unreachable(address, f"no answer in {PATIENCE:g} s") from None
        except (OSError, ValueError) as error:
            raise Unreachable(address, str(error) or type(error).__name__) from None

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()


class _Pool:
    def __init__(self, address: str, tls: ClientTls) -> None:
        self._tls = tls
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), port
        self._idle: deque[_Connection] = deque()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closed = False

    async def ask(self, question: bytes) -> Reply:
        async with self._free:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    try:
                        return await self._ask(connection, question)
                    except ConnectionError:
                        continue  # closed for being idle, as this question came
            return await self._ask(await self._connect(), question)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, int(self._port), ssl=self._tls())
        return connection

    async def _ask(self, connection: "_Connection", question: bytes) -> Reply:
        try:
            reply = await connection.ask(question)
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        elif connection.usable:
            self._idle.append(connection)
        return reply

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[Reply] | None = None

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, question: bytes) -> Reply:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(question)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of uvloop's it is true though it does not say so.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answer is None or self._answer.done():
            self.close()  # nobody has asked
        elif (end := self._received.find(_END)) >= 0:
            self._take(bytes(self._received[:end]), len(self._received) - end - len(_END))
        elif len(self._received) > MAX_HEAD_BYTES:
            self._fail(ValueError("its answer has no end"))

    def _take(self, head: bytes, beyond: int) -> None:
        assert self._answer is not None
        self._received.clear()
        try:
            reply = _parse(head)
        except ValueError:
            self._fail(ValueError("its answer is no HTTP"))
            return
        # What has a body is no answer to a question, and its rest would be taken for the next one.
        if beyond or reply.headers.get("content-length", "0") != "0" or "transfer-encoding" in reply.headers:
            self.close()
        if reply.headers.get("connection") == "close":
            self.close()
        self._answer.set_result(reply)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(ConnectionResetError(f"it closed the connection{f': {exc}' if exc else ''}"))


def _parse(head: bytes) -> Reply:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, *_ = first.split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError(version)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Reply(int(status), headers)
