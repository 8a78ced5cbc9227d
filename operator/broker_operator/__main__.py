"""`python -m broker_operator`: run the operator, configured by its environment."""

from __future__ import annotations

import asyncio
import signal
import sys

from broker_operator import logs
from broker_operator.runtime import Operator
from broker_operator.settings import Settings, SettingsError


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    await Operator(settings).run(stop)


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit status 0; 2 for a wrong setting; 1 when there is no API server to work with."""
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


if __name__ == "__main__":
    sys.exit(main())
