"""Sizes in the notation of Kubernetes: `64Mi`, `1G`, `4096`."""

from __future__ import annotations

import re
from dataclasses import dataclass

PATTERN = "^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_FACTORS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quantity:
    """A whole number of bytes above 0, and the text it was written as."""

    text: str

    def __post_init__(self) -> None:
        if re.fullmatch(PATTERN, self.text) is None:
            raise ValueError(f"{self.text!r} is not a size such as 64Mi, 1Gi or 4096")

    @property
    def bytes(self) -> int:
        """The size in bytes."""
        digits = self.text.rstrip("kKMGTi")
        return int(digits) * _FACTORS[self.text[len(digits) :]]

    def __str__(self) -> str:
        return self.text
