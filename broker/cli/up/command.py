"""`brokerctl up`: looks whether all it needs is installed, and runs it."""

import argparse

from broker.cli.failure import Failure


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    try:
        from broker.cli.up.local import up
    except ImportError as error:
        msg = f"up needs more than the client ({error.name} is missing): pip install 'brokercluster[local]'"
        raise Failure(msg) from None
    return up(arguments)
