"""What SQLite needs of its file: a local file system, a directory, and pages that are whole."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection

from scheduler.errors import Invalid, ReadOnly
from scheduler.store.config import StoreConfig

_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ncpfs"})
"""Where locks and shared memory do not hold what WAL needs of them."""

_MOUNTS = Path("/proc/self/mounts")


def check_file(config: StoreConfig, mounts: Path = _MOUNTS) -> None:
    """Raise `Invalid` when the configured SQLite file cannot be used where it is."""
    path = config.sqlite_path
    if path is None:
        return
    directory = path.absolute().parent
    if not directory.is_dir():
        raise Invalid(
            f"the database's directory {directory} does not exist", remedy="Create it first."
        )
    if path.is_dir():
        raise Invalid(f"the database {path} is a directory", remedy="Name a file in it.")
    if config.read_only and not path.exists():
        raise Invalid(f"there is no database {path}", remedy="Start sandboxd once, which makes it.")
    kind = file_system(directory.resolve(), mounts)
    if kind in _REMOTE:
        raise Invalid(
            f"the database {path} would lie on {kind}, where SQLite loses data",
            remedy="Put it on a local disk, or use PostgreSQL.",
        )
    if config.read_only:
        return
    if not os.access(directory, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ReadOnly(
            f"the database {path} can only be read",
            remedy="Make the file and its directory writable for the daemon's user.",
        )
    if not path.exists():
        # Keys and addresses are nobody else's business; the log beside it inherits this.
        path.touch(mode=0o600)


def is_frozen(path: Path) -> bool:
    """Return whether nobody can write beside a database, and its log holds nothing more.

    Only then may SQLite be told that the file never changes, without which it wants to write a
    lock's memory beside it even to read.
    """
    log = path.with_name(path.name + "-wal")
    empty = not log.exists() or log.stat().st_size == 0
    return empty and not os.access(path.absolute().parent, os.W_OK)


def file_system(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the file system that holds a directory, where the kernel tells."""
    found: tuple[int, str] | None = None
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, kind, *_ = line.split(" ")
        # The kernel writes blanks as octal escapes.
        where = Path(point.encode().decode("unicode_escape"))
        if directory.is_relative_to(where) and (found is None or len(where.parts) >= found[0]):
            found = (len(where.parts), kind)
    return found[1] if found else None


def check_integrity(connection: Connection) -> None:
    """Raise `Invalid` when SQLite finds a damaged page."""
    if connection.dialect.name != "sqlite":
        return
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if verdict != "ok":
        raise Invalid(
            f"the database is damaged ({verdict})",
            remedy="Keep the file, restore the newest backup beside it; nothing was recreated.",
        )
