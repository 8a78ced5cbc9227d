"""`python -m benchmarks`: measure, print the table, keep the rounds as JSON in benchmarks/results/."""

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cases, report
from benchmarks.cases.model import Case
from benchmarks.errors import BenchError, Missing
from benchmarks.measure import measure, require
from benchmarks.verdicts import Line

RESULTS = Path(__file__).parent / "results"


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each runs every case once (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds of a case (default 2)")
    parser.add_argument("--data", help="directory for SQLite files (default: the system's temporary directory)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to keep the report (benchmarks/results)")
    parser.add_argument("--require-targets", action="store_true", help="exit with 1 when a figure is missed")
    names = ", ".join(case.name for case in cases.CASES)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"only these: {names}")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.cases) - {case.name for case in cases.CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {names}")
    return chosen


def choose(wanted: list[str]) -> tuple[list[Case], dict[str, str]]:
    """The cases that can be measured here, and why the others of those wanted cannot."""
    able, left_out = [], {}
    for case in cases.CASES:
        if wanted and case.name not in wanted:
            continue
        try:
            require(case)
            able.append(case)
        except Missing as missing:
            left_out[case.name] = str(missing)
            print(f"left out: {case.name}: {missing}", file=sys.stderr, flush=True)
    return able, left_out


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    if chosen.data is not None and not Path(chosen.data).is_dir():
        raise BenchError(f"--data {chosen.data}: there is no such directory")
    selected, left_out = choose(chosen.cases)
    rounds: dict[str, list[dict[str, Any]]] = {case.name: [] for case in selected}
    for number in range(1, chosen.rounds + 1):
        for case in selected:
            seen = measure(case, chosen.seconds, chosen.data)
            rounds[case.name].append(seen)
            print(f"round {number}: {case.name}: {seen['rate']:,.0f} {case.unit}", file=sys.stderr, flush=True)
    lines = {case.name: Line(case, rounds[case.name]) for case in selected}
    table = report.markdown(lines, left_out, shlex.join(["python", "-m", "benchmarks", *arguments]))
    print(table)
    chosen.results.mkdir(parents=True, exist_ok=True)
    kept = chosen.results / f"bench-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    kept.with_suffix(".json").write_text(json.dumps({"machine": report.machine(), "rounds": rounds}, indent=1) + "\n")
    kept.with_suffix(".md").write_text(table + "\n")
    print(f"\nkept in {kept}.json and .md", file=sys.stderr)
    if any(line.problems() for line in lines.values()):
        return 1
    return 1 if chosen.require_targets and not report.all_met(lines) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"benchmarks: {error}")
