"""The CPU that server, load and others use between two moments."""

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


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


class Watch:
    """Told of the measured time of a load; this one does nothing."""

    def begin(self, pid: int) -> None:
        """The measured time of the server with this process id starts."""

    def end(self) -> None:
        """It is over."""


class Shares:
    """CPU shares, of one core, between the making and the reading."""

    def __init__(self, server: int, load: int) -> None:
        self._server = server
        self._load = load
        self._start = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), cpu_of(self._server), cpu_of(self._load), cpu_of_machine()

    def read(self) -> dict[str, float]:
        wall, server, load, machine = (now - then for now, then in zip(self._now(), self._start, strict=True))
        return {
            "server_cpu": server / wall,
            "load_cpu": load / wall,
            "other_cpu": max(0.0, (machine - server - load) / wall),
        }
