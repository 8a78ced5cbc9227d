"""`python -m tests.history`: break a cluster under load for as long as asked, and check what every client saw.

`python -m tests.history check FILE…` holds kept histories against the promises again.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.history.report import Report
from tests.history.torture import EACH, Setup, look, torture


def options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line of a run."""
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("--minutes", type=float, default=EACH / 60, help="how long things break (default 1)")
    parser.add_argument("--seed", default="", help="of the faults (default: a new one); as a run before printed it")
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres", help="(default postgres)")
    parser.add_argument("--replicas", type=int, default=3, help="brokers; with SQLite it is one (default 3)")
    parser.add_argument("--rate", type=float, default=300.0, help="messages a second, about (default 300)")
    parser.add_argument("--without-peers", action="store_true", help="brokers that do not know each other")
    parser.add_argument("--doors", default="auto", help="of the brokers, in turn: native,grpcio (default auto)")
    parser.add_argument("--calm", action="store_true", help="break nothing")
    parser.add_argument("--keep", type=Path, help="a directory for histories and logs, also when nothing is wrong")
    return parser.parse_args(arguments)


def run(arguments: list[str]) -> int:
    """Return 0 when no promise was broken."""
    chosen = options(arguments)
    directory = chosen.keep or Path(tempfile.mkdtemp(prefix="history-"))
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        print(f"--keep {directory}: there is something in it: name an empty directory, or a new one", file=sys.stderr)
        return 2
    # What clients say of lost connections is what is asked for here.
    logging.basicConfig(filename=directory / "clients.log", level=logging.INFO, format="%(asctime)s %(message)s")
    setup = Setup(
        seconds=chosen.minutes * 60,
        seed=chosen.seed,
        store=chosen.store,
        replicas=chosen.replicas,
        rate=chosen.rate,
        peers=not chosen.without_peers,
        doors=chosen.doors.split(","),
        calm=chosen.calm,
        keep=chosen.keep is not None,
    )
    try:
        report = asyncio.run(torture(setup, directory))
    except BaseException:
        print(f"the run was broken off; what there is of it is in {directory}", file=sys.stderr)
        raise
    print(report)
    if report.violations:
        print(f"the history and the logs are in {directory}; look again: python -m tests.history check FILE")
        print("the same faults again: the same command with the --seed printed last")
    elif chosen.keep is None:
        shutil.rmtree(directory)
    return 1 if report.violations else 0


def check(files: list[str]) -> int:
    """Return 0 when the histories in these files show no broken promise."""
    report = Report()
    for file in files:
        look(Path(file), report)
    print(report)
    return 1 if report.violations else 0


def main(arguments: list[str]) -> int:
    """Run, or check."""
    return check(arguments[1:]) if arguments[:1] == ["check"] else run(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
