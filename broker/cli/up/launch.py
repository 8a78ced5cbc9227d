"""Becomes another program: `python launch.py PARENT SIGNAL USER PROGRAM ARGUMENT…`.

With a SIGNAL other than 0 the program gets it when the process PARENT, which started it, ends. USER is the number of
the user, and of the group, that the program runs as; -1 changes nothing.

A program of its own, since what it does must happen in the child, between fork and exec, where a process with threads
may not run Python. It imports nothing but the standard library and is gone after a few milliseconds.
"""

import os
import sys

_PR_SET_PDEATHSIG = 1


def launch(parent: int, number: int, user: int, command: list[str]) -> None:
    """Replace this process by the program. The signal comes whatever ends the parent, on Linux."""
    with_parent = number and sys.platform == "linux"
    if with_parent:
        import ctypes  # now: the other user may not be able to read Python's library

        prctl = ctypes.CDLL(None).prctl
    if user >= 0:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if with_parent:
        # Only now: the change of the user would undo it.
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call above
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    launch(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
