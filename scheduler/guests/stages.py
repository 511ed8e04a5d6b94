"""Directories where plays are played: each is locked as long as its daemon uses it.

They hold a key, so what a killed daemon left is removed by the next one, which knows it by nobody
holding its lock. They lie where everybody may come by, since plays are nobody's (see `jails`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scheduler.jail import NOBODY

PREFIX = "sandboxd-play-"


@contextmanager
def stage() -> Iterator[Path]:
    """Lend a directory that goes with the block."""
    made = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Nobody holds one that is empty for longer than it takes to see that.
        fcntl.flock(held, fcntl.LOCK_EX)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)


def sweep() -> tuple[Path, ...]:
    """Remove what dead daemons left, of this user and of nobody; return what was there."""
    found = sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    return tuple(path for path in found if _abandoned(path))


def _abandoned(path: Path) -> bool:
    """Remove a directory if it is one of ours, was used, and nobody holds it."""
    try:
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        ours = os.fstat(held).st_uid in (os.geteuid(), NOBODY)
        if not ours or not any(path.iterdir()):
            return False
        with suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            return True
    finally:
        os.close(held)
    return False
