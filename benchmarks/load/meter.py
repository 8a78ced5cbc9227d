"""What a load counts, and the marks around its measured time."""

import sys
from dataclasses import dataclass, field


@dataclass
class Result:
    """What one load saw in its measured time."""

    count: int
    """Messages (or rows) done."""
    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds, one for each sample taken."""
    problems: list[str] = field(default_factory=list)
    """What was wrong with the answers: empty when every one was checked and right."""
    note: str = ""


def begin() -> None:
    """The measured time starts: who started this process reads clocks."""
    print("begin", flush=True)


def end() -> None:
    """The measured time is over; returns when who started this process has read clocks."""
    print("end", flush=True)
    sys.stdin.readline()


def percentile(sorted_values: list[float], share: float) -> float:
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
