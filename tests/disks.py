"""A file system of a few MiB, to be filled and frozen."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOM_LEFT = 65_536

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")


@contextmanager
def mounted(point: Path, size: str) -> Iterator[Path]:
    """Mount it at a new directory while the block runs; only root may."""
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


def fill(disk: Path, *, leave: int = ROOM_LEFT) -> Path:
    """Leave at most so many bytes and return the file that takes the rest; it may be removed."""
    ballast = disk / "ballast"
    room = shutil.disk_usage(disk).free - leave
    with ballast.open("wb", buffering=0) as file:
        try:
            # Others may take room meanwhile, and what they free is not theirs again.
            while room > 0:
                room -= file.write(b"x" * min(room, 65_536))
                room = room if leave else shutil.disk_usage(disk).free
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return ballast


def freeze(disk: Path) -> None:
    """Make it read-only, as the kernel does with a disk that fails."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
