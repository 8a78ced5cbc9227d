"""`brokerctl fetch`: print one message."""

import argparse

from broker.cli.output import FORMATS, write
from broker.cli.session import run_until_interrupted, session


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    return run_until_interrupted(_fetch(arguments))


async def _fetch(arguments: argparse.Namespace) -> int:
    async with session(arguments) as broker:
        message = await broker.fetch(arguments.subject, arguments.id)
    write(FORMATS[arguments.output](message))
    return 0
