"""Rounds into medians, medians into a table."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.servers import MEBI, pin

IDLE_LIMIT = 60 * MEBI
LOAD_LIMIT = 0.9
"""A load generator busier than this may have been the limit itself."""
OTHERS_LIMIT = 0.1
"""CPU of other processes, of one core, above which a figure is marked as disturbed."""

Rounds = Sequence[Mapping[str, Any]]


@dataclass
class Line:
    """One case over all rounds."""

    case: Case
    rounds: Rounds

    def median(self, key: str) -> float:
        return float(statistics.median(one[key] for one in self.rounds))

    def spread(self) -> str:
        rates: list[float] = [one["rate"] for one in self.rounds]
        return f"{min(rates):,.0f}–{max(rates):,.0f}"

    def problems(self) -> list[str]:
        problems: set[str] = {problem for one in self.rounds for problem in one["problems"]}
        return sorted(problems)

    def marks(self) -> str:
        load_bound = self.median("load_cpu") > LOAD_LIMIT
        disturbed = max(one["other_cpu"] for one in self.rounds) > OTHERS_LIMIT
        return ("¹" if load_bound else "") + ("²" if disturbed else "")


def machine() -> dict[str, str]:
    """What the figures hold for."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in described if line.startswith("model name")), ":")
    return {
        "CPU": model.partition(":")[2].strip() or platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("grpcio", "protobuf", "uvloop")},
        "pinned": "server core 0, load core 1" if pin(0) else "no",
    }


def verdict(line: Line, lines: Mapping[str, Line]) -> tuple[str, bool]:
    """What was asked for, and whether it was reached."""
    target = line.case.target
    if target is None:
        return "", True
    asked = [f"{name} ≤ {limit:g} ms" for name, limit in (("p50", target.p50_ms), ("p99", target.p99_ms)) if limit]
    in_time = all(
        line.median(key) <= limit for key, limit in (("p50_ms", target.p50_ms), ("p99_ms", target.p99_ms)) if limit
    )
    if target.of is None:
        met = line.median("rate") >= target.least and in_time and not line.problems()
        asked += [f"≥ {target.least:,.0f}"] if target.least else []
        return f"{', '.join(asked)}: {'met' if met else 'MISSED'}", met
    if target.of not in lines:
        return f"≥ {target.least} × {target.of}: not measured", True
    # Round by round, since neighbours in time share what else the machine was doing.
    pairs = zip(line.rounds, lines[target.of].rounds, strict=True)
    share = float(statistics.median(one["rate"] / measure["rate"] for one, measure in pairs))
    met = share >= target.least and not line.problems()
    return f"≥ {target.least} × {target.of}: {'met' if met else 'MISSED'}, {share:.2f} ×", met


def markdown(lines: Mapping[str, Line], command: str) -> str:
    """The whole report."""
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    rounds = len(next(iter(lines.values())).rounds)
    text = [
        f"`{command}`: {rounds} interleaved round{'s' * (rounds > 1)}. {about}.",
        "",
        "| case | median/s [min–max] | p50 / p99 ms | server CPU | load CPU | RSS after | asked for |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    text += [_row(line, lines) for line in lines.values()]
    text += ["", idle(lines)[0]]
    if any("¹" in line.marks() for line in lines.values()):
        text.append("¹ the load generator was over 90 % busy: it may be the limit, not the server.")
    if any("²" in line.marks() for line in lines.values()):
        text.append("² in some round other processes used more than a tenth of a core: the figure is disturbed.")
    text += [f"Problem in {name}: {problem}." for name, line in lines.items() for problem in line.problems()]
    return "\n".join(text)


def _row(line: Line, lines: Mapping[str, Line]) -> str:
    latency = f"{line.median('p50_ms'):.2f} / {line.median('p99_ms'):.2f}" if line.median("p50_ms") else "–"
    note = line.rounds[0]["note"]
    cells = [
        line.case.title + (f" ({note})" if note else ""),
        f"**{line.median('rate'):,.0f}** [{line.spread()}]{line.marks()}",
        latency,
        f"{line.median('server_cpu'):.0%}",
        f"{line.median('load_cpu'):.0%}",
        f"{line.median('loaded_bytes') / MEBI:.0f} MiB",
        verdict(line, lines)[0],
    ]
    return "| " + " | ".join(cells) + " |"


def idle(lines: Mapping[str, Line]) -> tuple[str, bool]:
    """Memory of brokers that have just become ready."""
    brokers = [line for line in lines.values() if line.case.store not in ("echo", "database")]
    sizes = [one["idle_bytes"] for line in brokers for one in line.rounds]
    if not sizes:
        return "Idle memory of a broker: not measured.", True
    met = max(sizes) <= IDLE_LIMIT
    median, most, limit = statistics.median(sizes) / MEBI, max(sizes) / MEBI, IDLE_LIMIT // MEBI
    return (
        f"Idle memory of a broker (RSS, {len(sizes)} starts): median {median:.1f} MiB, at most {most:.1f} MiB; "
        f"asked for ≤ {limit} MiB: {'met' if met else 'MISSED'}."
    ), met


def all_met(lines: Mapping[str, Line]) -> bool:
    return idle(lines)[1] and all(verdict(line, lines)[1] for line in lines.values())
