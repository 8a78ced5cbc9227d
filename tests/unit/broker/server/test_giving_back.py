"""Memory that was freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from broker.server.giving_back import Trimmer

# In a process of its own, whose heap nobody else uses. Every second block stays, so nothing lies free at the end.
PROGRAM = """
from broker.server.giving_back import Trimmer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

trimmer = Trimmer()
blocks = [bytes(50_000) for _ in range(4_000)]
kept, full = blocks[::2], resident()
assert not trimmer.look(), "nothing was freed yet"
del blocks
assert trimmer.look()
assert not trimmer.look(), "there is nothing more to give back"
assert full - resident() > 80 << 20, (full, resident())
assert all(len(block) == 50_000 for block in kept)
"""


def test_what_was_freed_is_given_back_once() -> None:
    try:
        Trimmer()
    except OSError as error:
        pytest.skip(str(error))
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
