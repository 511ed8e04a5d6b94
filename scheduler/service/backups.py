"""Backups of the control node: the database as it is committed, and the keys nothing can replace.

Each is a directory that gets its name once all of it is on the disk, so what has the name is whole.
Daemon and operator make them alike, also at the same time and while everything is written to.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scheduler.durable import sync
from scheduler.errors import Conflict, Invalid, Unavailable
from scheduler.hosts.cluster import ID_FILE, KEY_FILE
from scheduler.model.authorities import OWN_NAME
from scheduler.store.copies import DAMAGE, copy_whole, size_of

DATABASE_FILE = "sandboxd.db"
"""What the database is called in a backup, whatever it is called where it lives."""
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"sandboxd-(?P<time>\d{8}T\d{6}Z)")
_PARTIAL = ".partial"
_KEYS = (ID_FILE, KEY_FILE, f"{OWN_NAME}.*[0-9]", f"{OWN_NAME}.*[0-9].pub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One whole backup, and when it was made."""

    path: Path
    made_at: datetime
    left: tuple[Path, ...] = ()
    """What there is of others that is not whole and could not be removed, when it was made."""


def make_backup(
    state_dir: Path,
    database: Path | None,
    directory: Path,
    now: datetime,
    *,
    left_share: float = 0.0,
) -> Backup:
    """Put a backup into `directory` and return it; only its owner may read it.

    `database` is the SQLite file, None where a server keeps it. Blocks. Raises `Invalid` when there
    is nothing to back up, `Conflict` when another one is being made there, and `Unavailable` when
    the disk refuses it, or less than `left_share` of the disk would be left.
    """
    path = directory / f"sandboxd-{now.astimezone(UTC):{_TIME}}"
    try:
        for needed in (state_dir / KEY_FILE, *(() if database is None else (database,))):
            if not needed.exists():
                raise Invalid(
                    f"there is no {needed} to back up",
                    remedy="name the configuration, or the --state-dir, of a daemon that has run",
                )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(directory) as left:
            if path.exists():
                raise Conflict(f"{path} is there already", remedy="try again in a second")
            _make_room(directory, 0 if database is None else size_of(database), left_share)
            _fill(path.with_name(path.name + _PARTIAL), state_dir, database)
            path.with_name(path.name + _PARTIAL).rename(path)
            sync(directory)
    except DAMAGE as error:
        raise Unavailable(
            f"no backup could be made in {directory}: {error}",
            remedy="look whether the disk is full, and who may write there and read the state",
        ) from error
    return Backup(path=path, made_at=now, left=left)


def find_backups(directory: Path, now: datetime) -> tuple[Backup, ...]:
    """Return the whole backups in a directory, newest first.

    Those that a wrong clock dated later than now come last: nobody knows when they were made.
    Blocks. Raises `Unavailable` when the directory cannot be read.
    """
    try:
        paths = tuple(directory.iterdir()) if directory.is_dir() else ()
    except OSError as error:
        raise Unavailable(
            f"the backups in {directory} cannot be read: {error}",
            remedy="look who may read the directory, and whether its disk answers",
        ) from error
    found = [
        Backup(path=path, made_at=made_at)
        for path in paths
        if (made_at := _made_at(path.name)) is not None
    ]
    return tuple(sorted(found, key=lambda one: (one.made_at <= now, one.made_at), reverse=True))


def forget_backups(directory: Path, now: datetime, *, keep: int) -> tuple[Path, ...]:
    """Remove all but the newest, and return what is left of the others.

    One that cannot be removed costs room and nothing else. Blocks. Raises `Unavailable` when the
    directory cannot be read.
    """
    left = []
    for one in find_backups(directory, now)[keep:]:
        # Half of one must not keep the name of a whole one.
        half = one.path.with_name(one.path.name + _PARTIAL)
        try:
            one.path.rename(half)
        except OSError:
            left.append(one.path)
            continue
        if not _removed(half):
            left.append(half)
    return tuple(left)


def _made_at(name: str) -> datetime | None:
    """Return when the backup of a name was made, None where it is no backup's name."""
    if (match := _NAME.fullmatch(name)) is None:
        return None
    try:
        return datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None  # somebody else's: no clock ever showed that


def _removed(half: Path) -> bool:
    """Remove half of a backup; return whether it is gone, as another user's is not."""
    with suppress(OSError):
        shutil.rmtree(half)
    return not os.path.lexists(half)


@contextmanager
def _alone(directory: Path) -> Iterator[tuple[Path, ...]]:
    """Keep others from the directory, and remove what one left who was killed.

    Yields what could not be removed: it is in nobody's way.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Of this machine alone on NFS, which lets files be locked exclusively for writers only:
        # directories it leaves to the kernel here, where daemon and operator are.
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        halves = [
            path
            for path in directory.iterdir()
            if _NAME.fullmatch(path.name.removesuffix(_PARTIAL)) and path.suffix == _PARTIAL
        ]
        yield tuple(path for path in halves if not _removed(path))
    except BlockingIOError:
        raise Conflict(
            f"another backup is being made in {directory}", remedy="try again when it is done"
        ) from None
    finally:
        os.close(handle)


def _make_room(directory: Path, size: int, left_share: float) -> None:
    disk = shutil.disk_usage(directory)
    if disk.free - size < left_share * disk.total:
        raise Unavailable(
            f"no backup is made in {directory}: {size >> 20} MiB more would leave less than "
            f"{left_share:.0%} of its disk",
            remedy="free space there, or have backups elsewhere",
        )


def _fill(partial: Path, state_dir: Path, database: Path | None) -> None:
    partial.mkdir(mode=0o700)
    try:
        # The keys last: each is on the disk before the database names it.
        if database is not None:
            copy_whole(database, partial / DATABASE_FILE)
        for pattern in _KEYS:
            for key in state_dir.glob(pattern):
                _copy_key(key, partial / key.name)
        sync(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _copy_key(key: Path, target: Path) -> None:
    content = key.read_bytes()
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    sync(target)
