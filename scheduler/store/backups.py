"""Copies of a SQLite database from before its schema is changed, kept beside it.

A copy is made while the migration already holds the writers' lock, from another connection: nothing
can be committed between the two. It gets its name only when it is whole and on the disk. Of each
schema the newest is kept, of few schemas: who starts a failing upgrade again and again neither
fills the disk nor loses the copy from before the last good one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scheduler.durable import sync
from scheduler.errors import Unavailable
from scheduler.store.copies import DAMAGE, copy_whole, size_of

KEPT_SCHEMAS = 3
_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<database>.+)\.before-upgrade-(?P<revision>\w+)-(?P<time>\d{8}T\d{6}Z)")
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One copy, by its name: of which schema, and from when."""

    path: Path
    revision: str
    made_at: datetime


def make_backup(database: Path, revision: str, now: datetime) -> Backup:
    """Copy the database as it is committed now and return the copy, which only its owner may read.

    The caller holds the writers' lock. `Unavailable` when there is no copy in the end.
    """
    stamp = now.astimezone(UTC).strftime(_TIME)
    path = database.with_name(f"{database.name}.before-upgrade-{revision}-{stamp}")
    partial = path.with_name(path.name + _PARTIAL)
    try:
        _remove_partial(database)
        try:
            copy_whole(database, partial)
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        sync(database.absolute().parent)
    except DAMAGE as error:
        raise Unavailable(
            f"no backup could be made before the upgrade ({error}); nothing was changed",
            remedy=f"Free {_mib(database)} MiB beside {database}, or run the older sandboxd.",
        ) from error
    _forget_old(database)
    return Backup(path=path, revision=revision, made_at=now)


def find_backups(database: Path) -> tuple[Backup, ...]:
    """Return the whole copies beside a database, newest first."""
    found = []
    for path in database.absolute().parent.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is not None and match["database"] == database.name:
            made_at = datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
            found.append(Backup(path=path, revision=match["revision"], made_at=made_at))
    return tuple(sorted(found, key=lambda one: (one.made_at, one.revision), reverse=True))


def how_to_restore(database: Path, known: Collection[str]) -> str:
    """Say how to go back to the newest copy whose schema is among those known."""
    fitting = [one for one in find_backups(database) if one.revision in known]
    if not fitting:
        return f"No backup of a schema that this one knows lies beside {database}."
    newest, there = fitting[0], shlex.quote(str(database.absolute()))
    copy = shlex.quote(str(newest.path))
    return (
        f"To give up what changed since {newest.made_at:%Y-%m-%d %H:%M} UTC instead, stop sandboxd,"
        f" move {there} and the files {there}-wal and {there}-shm elsewhere,"
        f" and run: cp -p {copy} {there}"
    )


def _remove_partial(database: Path) -> None:
    """Remove what an attempt that was killed has left; nobody else is at it, under the lock."""
    for path in database.absolute().parent.iterdir():
        whole = _NAME.fullmatch(path.name.partition(_PARTIAL)[0])
        if _PARTIAL in path.name and whole is not None and whole["database"] == database.name:
            path.unlink()


def _forget_old(database: Path) -> None:
    kept: set[str] = set()
    for one in find_backups(database):
        if one.revision in kept or len(kept) == KEPT_SCHEMAS:
            # One that cannot be removed costs room, not the upgrade.
            with suppress(OSError):
                one.path.unlink()
        else:
            kept.add(one.revision)


def _mib(database: Path) -> int:
    return (size_of(database) >> 20) + 1
