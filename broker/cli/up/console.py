"""What `up` prints: its own words and the logs of its children, each line with the name of who says it."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

_COLORS = (36, 33, 32, 35, 34, 31)


class Console:
    """Prints lines with a prefix as wide as the longest name.

    Args:
        names: who will speak; each has a colour of its own.
        color: "auto" (on a terminal, unless NO_COLOR is set), "always" or "never".
    """

    def __init__(self, names: Sequence[str], color: str, out: TextIO | None = None) -> None:
        self.failure: OSError | None = None
        """Set when nobody reads what is printed any more; nothing is printed then."""
        self.on_failure: Callable[[], object] = lambda: None
        self._out = out or sys.stdout
        self._width = max(map(len, names))
        plain = color == "never" or (color == "auto" and (not self._out.isatty() or "NO_COLOR" in os.environ))
        self._colors = {} if plain else {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}

    def line(self, name: str, text: str) -> None:
        """Print one line."""
        if self.failure is not None:
            return
        prefix = f"{name:<{self._width}} |"
        if name in self._colors:
            prefix = f"\x1b[{self._colors[name]}m{prefix}\x1b[0m"
        try:
            self._out.write(f"{prefix} {text}\n")
            self._out.flush()
        except OSError as error:
            self.failure = error
            self.on_failure()
