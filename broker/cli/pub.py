"""`brokerctl pub`: publish an argument, a file, or lines."""

import argparse
import asyncio
import contextlib
import sys
import threading
from pathlib import Path

from broker.cli.failure import Failure
from broker.cli.output import write
from broker.cli.session import explain, run_until_interrupted, session
from broker.client import Broker, BrokerError, InvalidRequest, LimitReached, NewMessage, RateLimited
from broker.client.backoff import Backoff

_LARGEST_FRAME = 500
_WAITING_LINES = 1000
"""How many lines are read ahead of the broker."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.body is not None and arguments.file is not None:
        msg = "give either BODY or --file, not both"
        raise Failure(msg, exit_code=2)
    return run_until_interrupted(_pub(arguments))


async def _pub(arguments: argparse.Namespace) -> int:
    body: bytes | None = None
    if arguments.body is not None:
        body = arguments.body.encode(errors="surrogateescape")
    elif arguments.file is not None:
        body = await asyncio.to_thread(_contents, arguments.file)
    async with session(arguments) as broker:
        if body is None:
            return await _lines(broker, arguments)
        message_id = await broker.publish(arguments.subject, body, expires=arguments.expires)
    if not arguments.quiet:
        write(b"%d\n" % message_id)
    return 0


def _contents(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
        raise Failure(msg) from None


async def _lines(broker: Broker, arguments: argparse.Namespace) -> int:
    """Publish each line of standard input; what has queued meanwhile goes in one call.

    A line that is refused is reported, and the others go on; any other error ends it.
    """
    if sys.stdin.isatty():
        print("brokerctl: each line is a message; end with Ctrl-D", file=sys.stderr)
    lines, pace = _StandardInput(), _Pace(arguments.timeout.total_seconds())
    published, exit_code = 0, 0
    while batch := await lines.take():
        messages = [NewMessage(arguments.subject, line, arguments.expires) for line in batch]
        while messages:
            results = await pace.publish(broker, messages)
            for number, result in enumerate(results, start=published + 1):
                if isinstance(result, int):
                    if not arguments.quiet:
                        write(b"%d\n" % result)
                elif isinstance(result, InvalidRequest | LimitReached):
                    print(f"brokerctl: line {number} was not published: {explain(result)}", file=sys.stderr)
                    exit_code = 1
                else:
                    msg = f"stopped at line {number}: {explain(result)}"
                    raise Failure(msg) from result
            published += len(results)
            del messages[: len(results)]
    return exit_code


class _Pace:
    """Publishes as fast as the rate limit of the load balancer lets through: smaller frames, then pauses.

    A frame costs as many requests as it has messages, so a large one may be more than the limit ever allows at once.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._size = _LARGEST_FRAME

    async def publish(self, broker: Broker, messages: list[NewMessage]) -> list[int | BrokerError]:
        """Publish the first of the messages, at least one, and return their results."""
        backoff, clock = Backoff(first=0.05, longest=1.0), asyncio.get_running_loop().time
        deadline = clock() + self._patience
        while True:
            results = await broker.publish_many(messages[: self._size])
            taken = next((i for i, result in enumerate(results) if isinstance(result, RateLimited)), len(results))
            if taken or (self._size == 1 and clock() > deadline):
                self._size = min(_LARGEST_FRAME, self._size * 2)
                return results[: taken or 1]
            self._size = max(1, self._size // 2)
            await asyncio.sleep(backoff.next())


class _StandardInput:
    """Lines of standard input, read by a thread: a terminal or a pipe blocks.

    It is a daemon, so that a read which never returns does not keep the program from ending.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = threading.Semaphore(_WAITING_LINES)
        threading.Thread(target=self._read, daemon=True, name="stdin").start()

    async def take(self) -> list[bytes]:
        """Return all lines that wait, at least one; none at the end of the input."""
        batch: list[bytes] = []
        while not batch or not self._lines.empty():
            line = await self._lines.get()
            if line is None:
                self._lines.put_nowait(None)
                break
            batch.append(line)
        self._room.release(len(batch) or 1)
        return batch

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._room.acquire()
            self._put(line.removesuffix(b"\n"))
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        with contextlib.suppress(RuntimeError):  # the command has ended, and its loop with it
            self._loop.call_soon_threadsafe(self._lines.put_nowait, line)
