"""`brokerctl pub`: publish an argument, a file, or lines."""

import argparse
import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path

from broker.backoff import Backoff
from broker.cli.failure import Failure
from broker.cli.output import write
from broker.cli.session import explain, run_until_interrupted, session
from broker.client import Broker, BrokerError, InvalidRequest, LimitReached, MessageId, NewMessage, RateLimited

_CHUNK_BYTES = 64 << 10
_WAITING_CHUNKS = 4
"""How many chunks are read ahead of the broker."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.body is not None and arguments.file is not None:
        msg = "give either BODY or --file, not both"
        raise Failure(msg, exit_code=2)
    if arguments.key is not None and arguments.body is None and arguments.file is None:
        msg = "--key names one message: give BODY or --file with it"
        raise Failure(msg, exit_code=2)
    body: bytes | None = None
    if arguments.body is not None:
        body = arguments.body.encode(errors="surrogateescape")
    elif arguments.file is not None:
        body = _contents(arguments.file)
    elif sys.stdin is None:
        msg = "standard input is closed: give BODY or --file"
        raise Failure(msg)
    return run_until_interrupted(_pub(arguments, body))


async def _pub(arguments: argparse.Namespace, body: bytes | None) -> int:
    async with session(arguments) as broker:
        if body is None:
            return await _lines(broker, arguments)
        message_id = await broker.publish(
            arguments.subject, body, expires=arguments.expires, key=arguments.key, headers=dict(arguments.headers)
        )
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
    """Publish each line of standard input; what has queued meanwhile goes together.

    A line that is refused is reported, and the others go on; any other error ends it.
    """
    if sys.stdin.isatty():
        print("brokerctl: each line is a message; end with Ctrl-D", file=sys.stderr)
    lines, patience = _StandardInput(), arguments.timeout.total_seconds()
    headers = dict(arguments.headers)
    published, exit_code = 0, 0
    while batch := await lines.take():
        messages = [NewMessage(arguments.subject, line, arguments.expires, headers=headers) for line in batch]
        while messages:
            results = await _publish_within_limit(broker, messages, patience)
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


async def _publish_within_limit(
    broker: Broker, messages: list[NewMessage], patience: float
) -> list[MessageId | BrokerError]:
    """Publish messages of one subject and return the results of the first, at least one.

    When a rate limit has no room for one in time, those behind it are refused as well: they are left for later.
    When it refuses the first, try again with pauses, for `patience` seconds.
    """
    backoff, clock = Backoff(first=0.05, longest=1.0), asyncio.get_running_loop().time
    deadline = clock() + patience
    while True:
        results = await broker.publish_many(messages)
        taken = next((i for i, result in enumerate(results) if isinstance(result, RateLimited)), len(results))
        if taken or clock() > deadline:
            return results[: taken or 1]
        await asyncio.sleep(backoff.next(results[0].retry_after if isinstance(results[0], RateLimited) else None))


class _StandardInput:
    """Lines of standard input, read by a thread: a terminal or a pipe blocks.

    It is a daemon, so that a read which never returns does not keep the program from ending; and it reads the
    descriptor itself, since a file object is locked while it waits.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._room = threading.Semaphore(_WAITING_CHUNKS)
        self._begun: list[bytes] = []
        """The parts of a line that has not ended."""
        self._ended = False
        threading.Thread(target=self._read, daemon=True, name="stdin").start()

    async def take(self) -> list[bytes]:
        """Return the next lines, at least one; none at the end of the input."""
        while not self._ended:
            chunk = await self._chunks.get()
            self._room.release()
            if not chunk:
                self._ended = True
                return [b"".join(self._begun)] if self._begun else []
            first, *others = chunk.split(b"\n")
            self._begun.append(first)
            if others:
                lines = [b"".join(self._begun), *others[:-1]]
                self._begun = [others[-1]] if others[-1] else []
                return lines
        return []

    def _read(self) -> None:
        descriptor = sys.stdin.fileno()
        # The loop is gone when the command has ended meanwhile.
        with contextlib.suppress(RuntimeError):
            chunk = b"first"
            while chunk:
                self._room.acquire()
                chunk = os.read(descriptor, _CHUNK_BYTES)
                self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)
