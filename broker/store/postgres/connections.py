"""A bounded set of connections that comes back by itself when the database does."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from broker.errors import Refused, StoreUnavailable
from broker.store.postgres.address import describe, read_dsn, read_text
from broker.store.postgres.errors import FAILURES, ends_session, is_answer, is_passing, translate

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # it is generic for type checkers only

T = TypeVar("T")

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
"""How long one attempt to connect may take."""

FIRST_RETRY, LAST_RETRY = 0.05, 1.0
"""Seconds between attempts; doubled each time, with jitter."""

STATEMENT_SECONDS = 10
"""How long the server works on one statement before it gives up and rolls it back."""

ANSWER_SECONDS = STATEMENT_SECONDS + 5
"""After how long a server that says nothing is taken for lost."""

_SETTINGS = {
    "application_name": "broker",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "jit": "off",  # the statements are short: compiling them never pays
    # There is an index for each statement. One that is planned while a table is empty would read all of it, for as long
    # as it takes autovacuum to notice that it has grown.
    "enable_seqscan": "off",
}


class Connections:
    """Opens connections when they are needed, keeps them, and replaces broken ones.

    Args:
        dsn: where, as whom and how, or a file that holds it; a password in it yields to the file's.
        password_file: holds the password. Files are read for each new connection: they may change at any time.
        size: connections at most.
    """

    def __init__(self, dsn: str | Path, password_file: Path | None, size: int) -> None:
        self.where = f"the address in {dsn}" if isinstance(dsn, Path) else describe(dsn)
        self._dsn = dsn
        self._password = (lambda: read_text(password_file, "password")) if password_file is not None else None
        self._size = size
        self.opened: Callable[[], None] = lambda: None
        """Called for each new connection: the server behind it may be another one than before."""
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._opening = asyncio.Lock()
        self._retry = FIRST_RETRY
        self._not_before = 0.0
        self._trouble = ""
        self._is_open = False

    async def open(self, patience: float) -> None:
        """Make the first connection, so that what is misconfigured shows now.

        Raises:
            StoreUnavailable: it cannot be made; errors that will not pass by themselves are not waited for.
        """
        self._is_open = True
        async with self._lend(asyncio.get_running_loop().time() + patience, is_passing):
            pass

    async def close(self) -> None:
        """Wait for what is under way, then end all connections."""
        if not self._is_open:
            return
        self._is_open = False
        for _ in range(self._size):
            await self._slots.acquire()
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=1)
            except FAILURES:
                connection.terminate()
        for _ in range(self._size):
            self._slots.release()

    async def run(self, operation: Callable[[Connection], Awaitable[T]], patience: float) -> T:
        """Run an operation on a connection; again, when it failed in a way that passes, for `patience` seconds.

        Raises:
            StoreUnavailable, StoreFull: it did not succeed and changed nothing.
            Refused: what the operation raised.
        """
        until = asyncio.get_running_loop().time() + patience
        while True:
            try:
                async with self._lend(until, lambda _: True) as connection:
                    return await operation(connection)
            except FAILURES as error:
                refused = translate(error, self.where)
                if not is_passing(error) or asyncio.get_running_loop().time() >= until:
                    raise refused from error
                self._hold_back(refused)

    @asynccontextmanager
    async def _lend(self, until: float, wait_after: Callable[[BaseException], bool]) -> AsyncIterator[Connection]:
        if not self._is_open:
            raise StoreUnavailable(f"the store in PostgreSQL at {self.where} is not open")
        taken = False
        try:
            try:
                async with asyncio.timeout_at(until):
                    await self._slots.acquire()
                    taken = True
                    connection = await self._take(wait_after)
            except TimeoutError:
                raise self._too_late(waited_for_others=not taken) from None
            async with self._returning(connection):
                yield connection
        finally:
            if taken:
                self._slots.release()

    @asynccontextmanager
    async def _returning(self, connection: Connection) -> AsyncIterator[None]:
        """Keep the connection when it still works afterwards, and close it otherwise."""
        usable = False
        try:
            yield
            usable = True
        except FAILURES as error:
            usable = not ends_session(error)
            if not is_answer(error):
                self._distrust()
            raise
        except Refused:
            # An operation that refuses has ended a connection that is lost.
            usable = not connection.is_closed()
            if not usable:
                self._distrust()
            raise
        finally:
            if usable and not connection.is_closed():
                self._idle.append(connection)
            else:
                connection.terminate()

    def _distrust(self) -> None:
        """Give up the idle connections: what cut one may have cut all, and not all would notice."""
        for connection in self._idle:
            connection.terminate()
        self._idle.clear()

    def _too_late(self, *, waited_for_others: bool) -> StoreUnavailable:
        if self._trouble:
            return StoreUnavailable(self._trouble)
        if waited_for_others:
            text = f"all {self._size} connections of their kind to PostgreSQL at {self.where} are busy"
            return StoreUnavailable(f"{text}; raise --postgres-pool")
        return StoreUnavailable(f"PostgreSQL at {self.where} did not answer in time")

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _take(self, wait_after: Callable[[BaseException], bool]) -> Connection:
        """Return an idle connection, or a new one as soon as there can be one; one attempt at a time."""
        if (idle := self._take_idle()) is not None:
            return idle
        async with self._opening:
            while True:
                if (idle := self._take_idle()) is not None:
                    return idle
                await asyncio.sleep(max(0.0, self._not_before - asyncio.get_running_loop().time()))
                try:
                    connection = await self._connect()
                except FAILURES as error:
                    refused = translate(error, self.where)
                    self._hold_back(refused)
                    if not wait_after(error):
                        raise refused from error
                    continue
                self._retry, self._trouble = FIRST_RETRY, ""
                self.opened()
                return connection

    def _hold_back(self, trouble: Refused) -> None:
        """Make the next attempt to connect wait."""
        self._trouble = trouble.message
        pause = self._retry * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        self._not_before = asyncio.get_running_loop().time() + pause
        self._retry = min(2 * self._retry, LAST_RETRY)
        log.debug("next attempt in %.2f s: %s", pause, trouble.message)

    async def _connect(self) -> Connection:
        dsn = self._dsn
        if isinstance(dsn, Path):
            dsn = read_dsn(dsn)
            self.where = describe(dsn)
        connection: Connection = await asyncpg.connect(
            dsn,
            password=self._password,
            timeout=CONNECT_SECONDS,
            command_timeout=ANSWER_SECONDS,
            max_cached_statement_lifetime=0,  # the few statements stay prepared
            server_settings=_SETTINGS,
            target_session_attrs=SessionAttribute.read_write,  # among several hosts, the one that is no standby
        )
        try:
            # What is stricter, such as remote_apply, stays.
            if await connection.fetchval("SHOW synchronous_commit") in ("off", "local"):
                await connection.execute("SET synchronous_commit = on")
        except BaseException:
            connection.terminate()
            raise
        return connection
