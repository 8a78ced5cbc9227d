"""The command line: which command, with which arguments, and how its failure looks.

Exit codes: 0 done, 1 it failed, 2 it was called wrongly, 130 interrupted by Ctrl-C.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from broker.cli import arguments
from broker.cli.failure import Failure

_MODULES = {
    "pub": "broker.cli.pub",
    "sub": "broker.cli.sub",
    "fetch": "broker.cli.fetch",
    "up": "broker.cli.up.command",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `brokerctl` and return its exit code."""
    arguments_given = arguments.parser(version("brokercluster")).parse_args(argv)
    try:
        return _command(arguments_given.command)(arguments_given)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        from broker.cli.output import discard_output

        discard_output()  # its reader has seen enough
        return 128 + signal.SIGPIPE
    except Failure as failure:
        print(f"brokerctl: {failure}", file=sys.stderr)
        return failure.exit_code


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    """Import a command only when it is called: `--help` is quick then, and only `up` needs more than the client."""
    # gRPC writes lines of its own to standard error; what went wrong is in its errors as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    run: Callable[[argparse.Namespace], int] = import_module(_MODULES[name]).run
    return run


if __name__ == "__main__":
    sys.exit(main())
