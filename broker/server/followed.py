"""Files that are followed: looked at again and again, and read anew when they have changed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

POLL = 2.0
"""Seconds between looks at the files: when a Secret changes, Kubernetes swaps links, and watching files misses that."""

Stamp = tuple[tuple[int, int, int] | None, ...]
"""What tells one version of some files from another."""


def stamp(paths: Sequence[Path]) -> Stamp:
    """Return what changes when one of the files does, comes, or goes."""
    return tuple(_stamp(path) for path in paths)


async def follow(paths: Sequence[Path], seen: Stamp, changed: Callable[[], Awaitable[None]]) -> None:
    """Call `changed` each time the files are no longer as they were `seen` last, until cancelled."""
    before = seen
    while True:
        await asyncio.sleep(POLL)
        now = await asyncio.to_thread(stamp, paths)
        # Not before they have stood still for a while: they may be written one after the other.
        if now != seen and now == before:
            seen = now
            await changed()
        before = now


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
