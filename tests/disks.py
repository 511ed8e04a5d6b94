"""File systems of a few MiB, to be filled, frozen and broken."""

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
EXT4_BYTES = 16 * 2**20

needs_root = pytest.mark.needs("root")


@contextmanager
def mounted(point: Path, size: str) -> Iterator[Path]:
    """Mount it at a new directory while the block runs; only root may."""
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "--lazy", point], check=True)


@contextmanager
def ext4(image: Path, point: Path) -> Iterator[Path]:
    """Mount the ext4 in a file, a new one or one that is there, while the block runs.

    Leaving fails while anything of it is open.
    """
    if not image.exists():
        image.touch()
        os.truncate(image, EXT4_BYTES)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
    point.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, point], check=True)
    try:
        yield point
    except BaseException:
        subprocess.run(["umount", "--lazy", point], check=True)
        raise
    subprocess.run(["umount", point], check=True)


def break_down(disk: Path) -> None:
    """Have the kernel meet an error in an ext4: from then on it can only be read."""
    argv = ["findmnt", "--noheadings", "--output", "SOURCE", str(disk)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("1")


def repair(image: Path) -> Path:
    """Return a whole copy of a file with an ext4.

    The file itself may be mounted still where nobody sees it: by a host of a fleet that was made
    meanwhile, as that has a copy of all mounts there were.
    """
    repaired = image.with_suffix(".repaired")
    shutil.copy(image, repaired)
    done = subprocess.run(["e2fsck", "-fp", repaired], check=False, capture_output=True)
    assert done.returncode in (0, 1), done
    return repaired


@contextmanager
def sealed(*files: Path) -> Iterator[None]:
    """Let nobody write to files of an ext4 while the block runs, whoever has opened them."""
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


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
