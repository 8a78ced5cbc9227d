"""Where the CPU of a server goes under the load of one case: `python -m benchmarks.profile CASE`.

Prints the microseconds that each message (or call) costs in each layer, told by thread and shared object, and the
functions that take most. Needs perf, and the right to use it (root, or kernel.perf_event_paranoid at most 1). The
release build of the extension has the line tables that perf wants; Python's own functions are for py-spy to tell.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import cases, tools
from benchmarks.cases.model import Case
from benchmarks.clocks import Watch
from benchmarks.errors import BenchError, Missing
from benchmarks.measure import measure, require

LEAST_PERCENT = 0.5
"""Of the server's CPU; layers and functions below are not shown."""


class Perf(Watch):
    """Records the server while a load runs."""

    def __init__(self, data: Path, frequency: int) -> None:
        self._data = data
        self._frequency = frequency

    def begin(self, pid: int) -> None:
        command = [tools.perf(), "record", "-q", "-F", str(self._frequency), "-p", str(pid), "-o", str(self._data)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def end(self) -> None:
        self._process.send_signal(signal.SIGINT)
        _, errors = self._process.communicate(timeout=60)
        if not self._data.exists() or not self._data.stat().st_size:
            raise BenchError(f"perf recorded nothing:\n{errors}")

    def shares(self, *fields: str) -> list[tuple[float, list[str]]]:
        """Shares of the server's CPU, largest first, by perf's sort keys."""
        command = [
            tools.perf(), "report", "--stdio", "-q", "-i", str(self._data), "--no-children", "-F",
            ",".join(("overhead", *fields)), "--field-separator=;", f"--percent-limit={LEAST_PERCENT}",
        ]  # fmt: skip
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = [[cell.strip() for cell in line.split(";", len(fields))] for line in told.splitlines() if ";" in line]
        return [(float(share.rstrip("%")) / 100, names) for share, *names in rows]


def profile(case: Case, seconds: float, frequency: int) -> str:
    with tempfile.TemporaryDirectory(prefix="broker-perf-") as directory:
        perf = Perf(Path(directory, "perf.data"), frequency)
        seen = measure(case, seconds, None, perf)
        cost = seen["server_cpu"] / seen["rate"] * 1e6
        text = [
            f"{case.title}: {seen['rate']:,.0f} {case.unit}, {cost:.2f} µs of the server's CPU each",
            "",
            "| thread | layer | share | µs each |",
            "| --- | --- | --- | --- |",
        ]
        for share, (thread, layer) in perf.shares("comm", "dso"):
            text.append(f"| {thread} | {layer} | {share:.1%} | {share * cost:.2f} |")
        text += ["", "| function | layer | share | µs each |", "| --- | --- | --- | --- |"]
        for share, (layer, symbol) in perf.shares("dso", "symbol"):
            text.append(
                f"| `{symbol.removeprefix('[.] ').removeprefix('[k] ')}` | {layer} | {share:.1%} | {share * cost:.2f} |"
            )
        return "\n".join([*text, *(f"Problem: {problem}." for problem in seen["problems"])])


def main(arguments: list[str]) -> None:
    names = {case.name: case for case in cases.CASES if case.door}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="how long the load is (default 4)")
    parser.add_argument("--frequency", type=int, default=999, help="samples a second (default 999)")
    parser.add_argument("case", choices=names, metavar="CASE", help=f"one of {', '.join(names)}")
    chosen = parser.parse_args(arguments)
    case = names[chosen.case]
    tools.perf()
    require(case)
    print(profile(case, chosen.seconds, chosen.frequency))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (BenchError, Missing) as error:
        sys.exit(f"benchmarks: {error}")
