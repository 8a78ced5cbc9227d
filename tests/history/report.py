"""What several histories together show, for people."""

from collections import Counter
from dataclasses import dataclass, field

from tests.history.availability import Availability
from tests.history.checker import Verdict


@dataclass
class Report:
    """Sums over histories."""

    histories: int = 0
    events: int = 0
    violations: int = 0
    longest: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    by_fault: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)

    def add(self, verdict: Verdict, availability: Availability) -> None:
        """Add one history."""
        self.histories += 1
        self.events += verdict.events
        self.violations += verdict.found.total()
        self.counts += verdict.counts
        self.faults += availability.faults
        self.longest = max(self.longest, availability.longest)
        for ours, theirs in ((self.by_fault, availability.by_fault), (self.waited, availability.waited)):
            for kind, seconds in theirs.items():
                ours[kind] = max(ours.get(kind, 0.0), seconds)

    def __str__(self) -> str:
        checked = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines = [
            f"histories checked: {self.histories} ({self.events:,} events: {checked})",
            f"faults injected: {self.faults.total()}",
            f"{'':36} {'times':>5} {'none published':>15} {'one waited':>11}",
        ]
        for kind, times in sorted(self.faults.items()):
            stood, waited = self.by_fault.get(kind, 0.0), self.waited.get(kind, 0.0)
            lines.append(f"  {kind:34} {times:>5} {stood:>13.1f} s {waited:>9.1f} s")
        lines.append(f"longest unavailability: {self.longest:.1f} s")
        lines.append(f"violations: {self.violations}")
        return "\n".join(lines)
