"""`python -m broker_operator`: run the operator, configured by its environment."""

from __future__ import annotations

import asyncio
import signal
import sys

from broker_operator import logs
from broker_operator.runtime import Operator
from broker_operator.settings import Settings, SettingsError

_USAGE = """\
usage: python -m broker_operator

Looks after BrokerClusters. Settings come from the environment [default]; durations are in seconds:
"""


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await Operator(settings).run(stop)


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit status 0; 2 for a wrong setting; 1 when there is no API server to work with."""
    if arguments := sys.argv[1:]:
        return _not_run(arguments)
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(f"broker-operator: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    logs.configure(settings.log_format, settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except (RuntimeError, OSError) as error:
        print(f"broker-operator: {error}", file=sys.stderr)  # noqa: T201 - the last word
        return 1
    return 0


def _not_run(arguments: list[str]) -> int:
    """There are no arguments but the call for help."""
    if arguments in (["-h"], ["--help"]):
        print(f"{_USAGE}\n{Settings.table()}")  # noqa: T201 - what was asked for
        return 0
    print(f"broker-operator: unexpected argument {arguments[0]}; see --help", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main())
