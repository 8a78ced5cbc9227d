"""Part of the disk is kept free, because on a full one SQLite cannot even delete: its log has to grow first."""

import os
from pathlib import Path

RESERVE = 32 * 1024 * 1024
"""Bytes kept free: room for the log (16 MiB) and for what a checkpoint moves from it into the database."""


def reserve_is_touched(directory: Path) -> bool:
    """Whether the disk has less free than the reserve, which is a quarter of the disk at most."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize < min(RESERVE, disk.f_blocks * disk.f_frsize // 4)
