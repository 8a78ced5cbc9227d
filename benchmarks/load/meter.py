"""What is counted while a load runs: answers, latencies, and the CPU that server, load and others used."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Result:
    """What one load saw in its measured time."""

    count: int
    """Messages (or calls) done."""
    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds, one for each sample taken."""
    problems: list[str] = field(default_factory=list)
    """What was wrong with the answers: empty when every one was checked and right."""
    note: str = ""


def cpu_of(pid: int) -> float:
    """CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_of_machine() -> float:
    """CPU seconds that everything on this machine has used."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / TICK


class Shares:
    """CPU shares, of one core, between two moments."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._start = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), cpu_of(self._server), time.process_time(), cpu_of_machine()

    def read(self) -> dict[str, float]:
        wall, server, load, machine = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return {
            "server_cpu": server / wall,
            "load_cpu": load / wall,
            "other_cpu": max(0.0, (machine - server - load) / wall),
        }


def percentile(sorted_values: list[float], share: float) -> float:
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
