"""A scratch directory and what was made beside it, removed in every event, its owner's SIGKILL too.

The directory holds the list of commands that undo what was made. A keeper (this file, as a script)
works through it once the owner's pipe closes, by hand or by death: a clean end and a crash take
the same path. Should the keeper be killed as well, the next session does its work, for every
directory whose lock nobody holds any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "sandboxd-test-"
UNDO_LIST = "undo"
UNDO_EACH_S = 20.0
UNDO_LIMIT_S = 300.0
RETRY_EVERY_S = 0.05


class Scratch:
    """A directory that all may read, and the undo list of what was made with it."""

    def __init__(self, directory: Path, lock: int, keeper: subprocess.Popen[bytes]) -> None:
        self.directory = directory
        self._lock = lock
        self._keeper = keeper

    @classmethod
    def make(cls, purpose: str) -> Self:
        """Make an empty directory named after `purpose`, after sweeping what dead sessions left."""
        with _one_at_a_time():
            _sweep()
            directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
            directory.chmod(0o755)
            lock = _locked(directory)
        assert lock is not None, f"{directory} was locked before anyone knew of it"
        # Either of us holds the lock: it is free when both are gone.
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(lock,),
        )
        return cls(directory, lock, keeper)

    @property
    def keeper_pid(self) -> int:
        """The process that undoes everything when this one is gone."""
        return self._keeper.pid

    def undo(self, *argv: str) -> None:
        """Have `argv` run at the end, before all registered earlier; its failure is ignored."""
        with (self.directory / UNDO_LIST).open("a") as file:
            file.write(f"{json.dumps(argv)}\n")

    def close(self) -> None:
        """Undo everything now; raises `TimeoutExpired` when that takes over `UNDO_LIMIT_S`."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(UNDO_LIMIT_S)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    path = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getuid()}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _locked(directory: Path) -> int | None:
    """The descriptor that holds the directory's lock, or None when somebody else holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _sweep() -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*/"):
        # Another process's keeper may remove its directory while we look at it.
        with suppress(FileNotFoundError):
            _sweep_one(directory)


def _sweep_one(directory: Path) -> None:
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        return
    if (lock := _locked(directory)) is not None:
        _undo_all(directory)
        os.close(lock)


def _undo_all(directory: Path) -> None:
    _undo_listed(directory)
    deadline = time.monotonic() + UNDO_EACH_S
    # The owner's servers die with it, but may be writing until they have.
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            time.sleep(RETRY_EVERY_S)


def _undo_listed(directory: Path) -> None:
    with suppress(FileNotFoundError):
        lines = (directory / UNDO_LIST).read_text().splitlines(keepends=True)
        while lines:
            with suppress(OSError, subprocess.TimeoutExpired):
                argv = json.loads(lines.pop())
                subprocess.run(argv, capture_output=True, check=False, timeout=UNDO_EACH_S)
            # Once is enough: by the next sweep another session may have what goes by this name.
            (directory / UNDO_LIST).write_text("".join(lines))


def _keep(directory: Path) -> None:
    """Wait until the owner is gone, then undo all that it did."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    _undo_all(directory)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
