"""What pub, sub and fetch share: a connection, and errors that say where."""

import argparse
import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from broker.cli.failure import Failure
from broker.cli.identity import metadata
from broker.cli.tls import credentials
from broker.client import Broker, BrokerError, MessageNotFound, connect


@asynccontextmanager
async def session(arguments: argparse.Namespace) -> AsyncIterator[Broker]:
    """Connect to the server of the command line; a broker's error becomes the command's failure."""
    made = connect(
        arguments.server,
        timeout=arguments.timeout.total_seconds(),
        # Whoever typed a wrong address wants to know it now, not after the timeout.
        wait_for_ready=False,
        credentials=credentials(arguments),
        metadata=metadata(arguments),
    )
    try:
        async with made as broker:
            yield broker
    except BrokerError as error:
        raise Failure(explain(error)) from error


def explain(error: BrokerError) -> str:
    """Return one line: what was wrong, where, what to do."""
    text = " ".join(str(error).split())
    if error.reason == "NOT_CONNECTED":
        return f"{text}; {_advice(text)}"
    if error.reason == "UNAUTHENTICATED":
        return f"{text}; say who you are with --token-file or --api-key-file"
    if isinstance(error, MessageNotFound):
        return f"{text}; only messages published with --expires can be fetched, until then"
    return text


def _advice(text: str) -> str:
    """Return what to look at, by what gRPC says of a connection that did not come about."""
    if any(sign in text for sign in _TLS_FAILED):
        return "did --tls-ca sign its certificate, and does it want one of yours (--tls-cert)?"
    if "Socket closed" in text:
        return "does it speak TLS (--tls-ca), or want a certificate (--tls-cert)?"
    return "is it running? Start one with `brokerctl up`, or name another with --server"


_TLS_FAILED = ("handshake failed", "TSI_DATA_CORRUPTED")


def run_until_interrupted(main: Coroutine[None, None, int]) -> int:
    """Run a command; Ctrl-C ends it as KeyboardInterrupt."""
    logging.basicConfig(format="brokerctl: %(message)s", level=logging.WARNING, stream=sys.stderr)
    return asyncio.run(main)
