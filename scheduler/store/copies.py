"""A copy of a SQLite database as it is committed now, made while others write, and proven whole."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from scheduler.durable import sync

DAMAGE = (OSError, sqlite3.Error)
"""What making a copy may fail with; the target is then to be removed."""


def copy_whole(database: Path, target: Path) -> None:
    """Copy `database` to the new file `target`, which only its owner may read, and sync it.

    One snapshot is copied, however many write meanwhile. Raises `DAMAGE`, also when a page of the
    copy is not whole.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        # One file that needs no others; opening it makes it a WAL database again.
        copy.execute("PRAGMA journal_mode = DELETE")
        verdict = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {verdict}")
    sync(target)


def size_of(database: Path) -> int:
    """Return how many bytes a copy takes at the most."""
    log = database.with_name(database.name + "-wal")
    return sum(path.stat().st_size for path in (database, log) if path.exists())
