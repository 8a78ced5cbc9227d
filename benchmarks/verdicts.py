"""What was asked for, and whether it was reached."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases.model import MEBI, Case, Least, Most, Share, Target

Rounds = Sequence[Mapping[str, Any]]
FIGURES = {
    "p50_ms": ("p50 ≤ {:g} ms", 1.0),
    "p99_ms": ("p99 ≤ {:g} ms", 1.0),
    "server_cpu": ("≤ {:g} core", 1.0),
    "proxy_us": ("proxy ≤ {:g} µs each", 1.0),
    "held_bytes": ("≤ {:g} MiB", float(MEBI)),
    "peak_bytes": ("never over {:g} MiB", float(MEBI)),
    "left": ("then ≤ {:g} × before", 1.0),
}
"""How the limit of a Most is said, and the unit it is said in."""


@dataclass
class Line:
    """One case over all rounds."""

    case: Case
    rounds: Rounds

    def median(self, key: str) -> float:
        return float(statistics.median(one[key] for one in self.rounds))

    def problems(self) -> list[str]:
        problems: set[str] = {problem for one in self.rounds for problem in one["problems"]}
        return sorted(problems)


def verdict(line: Line, lines: Mapping[str, Line]) -> tuple[str, bool]:
    """What was asked for in words, and whether all of it was reached; a line with problems has reached nothing."""
    judged = [_judge(target, line, lines) for target in line.case.targets]
    if not judged:
        return "", True
    asked, met = "; ".join(text for text, _ in judged), all(reached for _, reached in judged)
    if line.problems():
        return f"{asked}; WRONG", False
    return asked, met


def _judge(target: Target, line: Line, lines: Mapping[str, Line]) -> tuple[str, bool]:
    match target:
        case Least(rate):
            return _told(f"≥ {rate:,.0f}", line.median("rate") >= rate)
        case Most(figure, limit):
            words, unit = FIGURES[figure]
            return _told(words.format(limit / unit), line.median(figure) <= limit)
        case Share(least, of):
            if of not in lines:
                return f"≥ {least:g} × {of}: not measured", True
            # Round by round, since neighbours in time share what else the machine was doing.
            pairs = zip(line.rounds, lines[of].rounds, strict=True)
            share = float(statistics.median(one["rate"] / measure["rate"] for one, measure in pairs))
            text, met = _told(f"≥ {least:g} × {of}", share >= least)
            return f"{text}, {share:.2f} ×", met


def _told(asked: str, met: bool) -> tuple[str, bool]:
    return f"{asked}: {'met' if met else 'MISSED'}", met
