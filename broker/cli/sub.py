"""`brokerctl sub`: print messages as they come."""

import argparse
import sys
from datetime import datetime

from broker.cli.output import FORMATS, write
from broker.cli.session import explain, run_until_interrupted, session
from broker.client import EARLIEST, LATEST, BrokerError, Start, after_id, since


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return run_until_interrupted(_sub(arguments))


async def _sub(arguments: argparse.Namespace) -> int:
    form = FORMATS[arguments.output]
    left = arguments.count
    async with session(arguments) as broker:
        subscription = broker.subscribe(arguments.subject, start=_start(*arguments.start), on_reconnect=_reconnected)
        async with subscription as messages:
            async for message in messages:
                write(form(message))
                if left is not None:
                    left -= 1
                    if left == 0:
                        break
    return 0


def _start(kind: str, value: int | datetime | None) -> Start:
    if isinstance(value, datetime):
        return since(value)
    if value is not None:
        return after_id(value)
    return EARLIEST if kind == "earliest" else LATEST


def _reconnected(cause: BrokerError) -> None:
    print(f"brokerctl: connected again after: {explain(cause)}", file=sys.stderr)
