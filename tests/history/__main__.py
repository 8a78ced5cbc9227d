"""`python -m tests.history`: break a cluster under load for as long as asked, and check what every client saw.

`run` (the default) writes one history after the other; one that shows a violation is kept, and ends it.
`check FILE` holds a kept history against the promises again.
"""

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.history.availability import measure
from tests.history.checker import Verdict, check
from tests.history.cluster import Cluster
from tests.history.events import read
from tests.history.report import Report
from tests.history.run import Task, run

EACH = 60.0
"""Seconds of faults in one history."""


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long things break (default 1)")
    parser.add_argument("--seed", help="of the faults (default: a new one); NAME:N begins with the Nth history of NAME")
    parser.add_argument("--store", choices=["postgres", "sqlite"], default="postgres", help="(default postgres)")
    parser.add_argument("--replicas", type=int, default=3, help="brokers; SQLite has one (default 3)")
    parser.add_argument("--rate", type=float, default=300.0, help="messages a second, about (default 300)")
    parser.add_argument("--without-peers", action="store_true", help="brokers that do not know each other")
    parser.add_argument("--calm", action="store_true", help="break nothing")
    parser.add_argument("--keep", type=Path, help="a directory for all histories and logs, also of runs that are well")
    return parser.parse_args(arguments)


async def torture(chosen: argparse.Namespace, directory: Path) -> Report:
    """Run and check histories until the time is over or one shows a violation."""
    report = Report()
    name, _, first = (chosen.seed or secrets.token_hex(4)).partition(":")
    number = int(first or 0)
    seconds = chosen.minutes * 60
    replicas = 1 if chosen.store == "sqlite" else chosen.replicas
    async with Cluster(chosen.store, replicas, directory, peers=not chosen.without_peers) as cluster:
        while seconds > 0 and not report.violations:
            task = Task(f"{name}:{number}", f"{name}-{number}", min(seconds, EACH), chosen.rate, chosen.calm)
            print(f"--- seed {task.seed}: {task.seconds:.0f} s", flush=True)
            history = directory / f"history-{number}.jsonl"
            await run(cluster, task, history)
            verdict = await asyncio.to_thread(look, history, report)
            print(f"{verdict.events:,} events, {verdict.found.total()} violations", flush=True)
            if not verdict.found and chosen.keep is None:
                history.unlink()
            seconds -= task.seconds
            number += 1
    return report


def look(history: Path, report: Report) -> Verdict:
    """Check one history and add it to the report; violations are printed with their evidence."""
    verdict = check(read(history))
    report.add(verdict, measure(read(history)))
    for violation in verdict.violations:
        print(violation)
    for kind, count in verdict.found.items():
        print(f"{kind}: {count} in all")
    return verdict


def main(arguments: list[str]) -> int:
    """Return 0 when no promise was broken."""
    if arguments[:1] == ["check"]:
        report = Report()
        for file in arguments[1:]:
            began = time.monotonic()
            look(Path(file), report)
            print(f"{file}: {time.monotonic() - began:.1f} s", file=sys.stderr)
        print(report)
        return 1 if report.violations else 0
    chosen = options(arguments[1:] if arguments[:1] == ["run"] else arguments)
    directory = chosen.keep or Path(tempfile.mkdtemp(prefix="history-"))
    directory.mkdir(parents=True, exist_ok=True)
    # What clients say of lost connections is what is asked for here.
    logging.basicConfig(filename=directory / "clients.log", level=logging.INFO)
    try:
        report = asyncio.run(torture(chosen, directory))
    except BaseException:
        print(f"the run was broken off; what there is of it is in {directory}")
        raise
    print(report)
    if report.violations:
        print(f"the history and the logs are in {directory}; check it again: python -m tests.history check FILE")
        return 1
    if chosen.keep is None:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
