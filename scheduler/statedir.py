"""The state directory: private, on a local disk, held by one daemon at a time, its files whole.

The lock is taken before the socket or the database is touched (I12), because the operating system
would let a second daemon steal the socket without a word.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scheduler.durable import sync
from scheduler.errors import Conflict, Invalid, Unavailable

LOCK_FILE = "lock"
_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})


class HeldByAnother(Conflict):
    """Another daemon holds the state directory; trying again does not help while it lives."""


class DiskRefused(Unavailable):
    """A file cannot be read or written now; the database, and whoever needs no file, go on."""


@contextmanager
def on_disk(what: str) -> Iterator[None]:
    """Raise `DiskRefused`, saying `what` came to nothing, for an error of the system inside."""
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        raise DiskRefused(
            f"{what}: {error.strerror or error}{where}",
            remedy="raise LimitNOFILE of the unit: too many files are open"
            if error.errno in _MANY_OPEN
            else "look at the disk under the state directory: is it full or read-only?",
        ) from error


def prepare(path: Path) -> None:
    """Make the directory if it is missing, readable by its owner only.

    Raises `Invalid` where it cannot be made or written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(
            f"state directory {path} cannot be made: {error.strerror}",
            remedy="name a directory that this user may create with --state-dir",
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Invalid(
            f"state directory {path} is not writable by uid {os.geteuid()}",
            remedy="run as its owner, or name another directory with --state-dir",
        )


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the directory's lock; raises `HeldByAnother`, naming who does, or `Invalid`."""
    handle = _opened(path / LOCK_FILE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            raise HeldByAnother(
                f"another daemon (pid {holder}) holds the state directory {path}",
                remedy="stop it first, or give this one a --state-dir of its own",
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Invalid(
            f"the lock {path} cannot be opened: {error.strerror}",
            remedy="run as the owner of the state directory; the lock is a plain file of its",
        ) from error


def write_once(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all; a faster twin's stays.

    Raises `DiskRefused`.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with on_disk(f"{path.name} cannot be written"):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)


def remove_for_good(path: Path) -> None:
    """Remove a file, if it is there, so that not even a loss of power brings it back.

    Raises `DiskRefused`.
    """
    with on_disk(f"{path.name} cannot be removed"):
        path.unlink(missing_ok=True)
        sync(path.parent)
