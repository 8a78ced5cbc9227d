"""Rounds into medians, medians into a table."""

import os
import platform
import statistics
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.cases.model import MEBI
from benchmarks.servers import pin
from benchmarks.verdicts import Line, verdict

IDLE_LIMIT = 70 * MEBI
LOAD_LIMIT = 0.9
"""A load generator busier than this may have been the limit itself."""
OTHERS_LIMIT = 0.1
"""CPU of other processes, of one core, above which a figure is marked as disturbed."""
NOTES = {
    "¹": "the load generator was over 90 % busy: it may be the limit, not the server.",
    "²": "in some round other processes used more than a tenth of a core: the figure is disturbed.",
}


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


def markdown(lines: Mapping[str, Line], left_out: Mapping[str, str], command: str) -> str:
    """The whole report; `left_out` says of each case that could not be measured why."""
    about = ", ".join(f"{key} {value}" for key, value in machine().items())
    rounds = max((len(line.rounds) for line in lines.values()), default=0)
    text = [
        f"`{command}`: {rounds} interleaved round{'s' * (rounds != 1)}. {about}.",
        "",
        "| case | median/s [min–max] | p50 / p99 ms | server CPU, each | load CPU | RSS | asked for |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    text += [_row(line, lines) for line in lines.values()]
    text += ["", idle(lines)[0]]
    marks = "".join(_marks(line) for line in lines.values())
    text += [f"{mark} {note}" for mark, note in NOTES.items() if mark in marks]
    text += [f"Problem in {name}: {problem}." for name, line in lines.items() for problem in line.problems()]
    text += [f"Left out: {', '.join(names)}: {reason}." for reason, names in _by_reason(left_out).items()]
    return "\n".join(text)


def _row(line: Line, lines: Mapping[str, Line]) -> str:
    latency = f"{line.median('p50_ms'):.2f} / {line.median('p99_ms'):.2f}" if line.median("p50_ms") else "–"
    note = "; ".join(filter(None, (line.rounds[0]["note"], _proxy(line))))
    cells = [
        line.case.title + (f" ({note})" if note else ""),
        _rate(line),
        latency,
        _server_cpu(line),
        f"{line.median('load_cpu'):.0%}",
        f"{line.median('held_bytes') / MEBI:.0f} MiB",
        verdict(line, lines)[0],
    ]
    return "| " + " | ".join(cells) + " |"


def _proxy(line: Line) -> str:
    return f"the proxy's CPU: {line.median('proxy_us'):.1f} µs each" if line.case.proxy else ""


def _rate(line: Line) -> str:
    if line.case.unit == "subscriptions":
        return "–" + _marks(line)
    rates: list[float] = [one["rate"] for one in line.rounds]
    return f"**{line.median('rate'):,.0f}** [{min(rates):,.0f}–{max(rates):,.0f}]{_marks(line)}"


def _server_cpu(line: Line) -> str:
    """The server's share of its core, and what that is for each message."""
    share = f"{line.median('server_cpu'):.0%}"
    if not line.case.door or line.case.unit == "subscriptions":
        return share
    return f"{share}, {statistics.median(one['server_cpu'] / one['rate'] for one in line.rounds) * 1e6:.1f} µs"


def _marks(line: Line) -> str:
    load_bound = line.median("load_cpu") > LOAD_LIMIT
    disturbed = max(one["other_cpu"] for one in line.rounds) > OTHERS_LIMIT
    return ("¹" if load_bound else "") + ("²" if disturbed else "")


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        reasons.setdefault(reason, []).append(name)
    return reasons


def idle(lines: Mapping[str, Line]) -> tuple[str, bool]:
    """Memory of brokers that have just become ready, with the native door."""
    sizes = [one["idle_bytes"] for line in lines.values() if line.case.door == "native" for one in line.rounds]
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
