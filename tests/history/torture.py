"""History after history on one cluster, each checked when it is written."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.history.availability import measure
from tests.history.checker import Verdict, check
from tests.history.cluster import Cluster
from tests.history.events import read
from tests.history.report import Report
from tests.history.run import Task, run

EACH = 60.0
"""Seconds of faults in one history."""


@dataclass(frozen=True)
class Setup:
    """What to torture, and how.

    Attributes:
        seconds: how long things break, over all histories.
        seed: of the faults; NAME:N begins with history number N of the seed NAME. Empty: a new one.
        store: "postgres" or "sqlite", which has one broker.
        replicas: how many brokers.
        rate: messages published a second, about.
        peers: whether the brokers know each other.
        doors: of the brokers, in turn.
        calm: nothing breaks.
        keep: keep the histories in which nothing is wrong, too.
    """

    seconds: float = EACH
    seed: str = ""
    store: str = "postgres"
    replicas: int = 3
    rate: float = 300.0
    peers: bool = True
    doors: Sequence[str] = ("auto",)
    calm: bool = False
    keep: bool = False


async def torture(setup: Setup, directory: Path) -> Report:
    """Write and check histories until the time is over or one shows a violation; that one stays in the directory."""
    report = Report()
    name, _, first = (setup.seed or secrets.token_hex(4)).partition(":")
    number, seconds = int(first or 0), setup.seconds
    async with Cluster(
        setup.store,
        1 if setup.store == "sqlite" else setup.replicas,
        directory,
        peers=setup.peers,
        doors=setup.doors,
    ) as cluster:
        while seconds > 0 and not report.violations:
            task = Task(f"{name}:{number}", f"{name}-{number}", min(seconds, EACH), setup.rate, setup.calm)
            print(f"--- seed {task.seed}, {task.seconds:g} s", flush=True)
            history = directory / f"history-{number}.jsonl"
            await run(cluster, task, history)
            # In a thread: the lines between the brokers pass through this process.
            verdict = await asyncio.to_thread(look, history, report)
            if not verdict.found and not setup.keep:
                history.unlink()
            seconds -= task.seconds
            number += 1
    return report


def look(history: Path, report: Report) -> Verdict:
    """Check one history and add it to the report; print how much there was, and violations with their evidence."""
    verdict = check(read(history))
    report.add(verdict, measure(read(history)))
    print(f"{verdict.events:,} events, {verdict.found.total()} violations", flush=True)
    for violation in verdict.violations:
        print(violation)
    for kind, count in verdict.found.items():
        print(f"{kind}: {count} in all")
    return verdict
