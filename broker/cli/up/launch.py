"""Becomes another program that ends when our parent ends: `python launch.py PARENT_PID PROGRAM ARGUMENT…`.

A program of its own, since what it does must happen in the child, between fork and exec, where a process with threads
may not run Python. It imports nothing but the standard library and is gone after a few milliseconds.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def launch(parent: int, command: list[str]) -> None:
    """Replace this process by a program that gets SIGTERM when the parent dies, whatever kills it (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call above
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    launch(int(sys.argv[1]), sys.argv[2:])
