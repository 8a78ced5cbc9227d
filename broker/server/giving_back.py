"""Freed memory goes back to the system.

glibc's malloc keeps what was freed unless it lies at the end of its heap: what one thread allocates and another frees,
as frames for subscribers are, leaves holes everywhere. After 5,000 slow subscribers had gone, hundreds of MiB stayed.
https://man7.org/linux/man-pages/man3/malloc_trim.3.html, https://man7.org/linux/man-pages/man3/mallinfo.3.html
"""

import asyncio
import ctypes
from time import perf_counter

WORTH_IT = 32 << 20
"""Bytes freed since the last time that are worth a trim, which takes about 0.1 ms for each MiB."""

LEAST_PAUSE = 1.0
"""Seconds between looks."""

MOST_SHARE = 0.005
"""Of the event loop's time that looks and trims may take."""


_NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _NAMES]


class Trimmer:
    """Looks at what malloc keeps, and lets it give that back when it has become much.

    Raises:
        OSError: this is not glibc 2.33 or newer, and its malloc is left alone.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        try:
            self._info, self._trim = library.mallinfo2, library.malloc_trim
        except AttributeError:
            raise OSError("malloc has neither mallinfo2 nor malloc_trim") from None
        self._info.restype = _Mallinfo2
        self._trim.argtypes = [ctypes.c_size_t]
        self._least = self._free()

    def look(self) -> bool:
        """Give back what has been freed since the last time, if it is worth it; returns whether it was."""
        # Also what was given back counts as free until it is used again: only growth tells.
        free = self._free()
        self._least = min(self._least, free)
        if free - self._least < WORTH_IT:
            return False
        self._trim(0)
        self._least = free
        return True

    def _free(self) -> int:
        return int(self._info().fordblks)


async def give_back() -> None:
    """Look again and again, until cancelled; return at once where malloc cannot be asked."""
    try:
        trimmer = Trimmer()
    except OSError:
        return
    pause = LEAST_PAUSE
    while True:
        await asyncio.sleep(pause)
        began = perf_counter()
        trimmer.look()
        pause = max(LEAST_PAUSE, (perf_counter() - began) / MOST_SHARE)
