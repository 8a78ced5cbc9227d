"""What several histories together show, for people."""

from collections import Counter
from dataclasses import dataclass, field

from tests.history.availability import WAITS, Availability, Longest, merge
from tests.history.checker import Verdict


@dataclass
class Report:
    """Sums over histories."""

    histories: int = 0
    events: int = 0
    violations: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    longest: Longest = field(default_factory=dict)

    def add(self, verdict: Verdict, availability: Availability) -> None:
        """Add one history."""
        self.histories += 1
        self.events += verdict.events
        self.violations += verdict.found.total()
        self.counts += verdict.counts
        self.faults += availability.faults
        merge(self.longest, availability.longest)

    @property
    def unavailable(self) -> float:
        """The longest time in which no publish succeeded though at least one was waiting, in seconds."""
        return max((waits.get("stood still", 0.0) for waits in self.longest.values()), default=0.0)

    def __str__(self) -> str:
        checked = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines = [
            f"histories checked: {self.histories} ({self.events:,} events: {checked})",
            f"faults injected: {self.faults.total()}",
            f"  {'longest wait in s, while there was':34} {'times':>6}" + "".join(f"{what:>13}" for what in WAITS),
        ]
        for kind in sorted({*self.faults, *self.longest}):
            waits = self.longest.get(kind, {})
            times = self.faults.get(kind, "")
            lines.append(f"  {kind:34} {times:>6}" + "".join(f"{waits.get(what, 0.0):>13.2f}" for what in WAITS))
        lines.append(f"longest unavailability: {self.unavailable:.1f} s")
        lines.append(f"violations: {self.violations}")
        return "\n".join(lines)
