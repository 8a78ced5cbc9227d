"""What is wrong with a BrokerCluster, said by the field's path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in an object."""

    path: str
    """Where, e.g. `spec.proxy.rateLimit.rules[1].limit.unit`."""
    message: str
    """What is wrong and what is allowed."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class SpecError(ValueError):
    """The object is not a valid BrokerCluster. Only its author can mend it: trying again does not help."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        """Everything found, in the order of the spec; never empty."""
        super().__init__("; ".join(map(str, self.problems)))

    @property
    def path(self) -> str:
        """The path of the first problem."""
        return self.problems[0].path

    @property
    def message(self) -> str:
        """The message of the first problem."""
        return self.problems[0].message
