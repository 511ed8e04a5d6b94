"""A database for each run of the model: its schema, and nothing in it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from tests.databases import clear, migrate, sqlite_at


class Sqlite:
    """Gives a copy of one migrated file each time, over the one before."""

    def __init__(self, directory: Path) -> None:
        self._numbers = count()
        self._directory = directory

    def __call__(self) -> str:
        for old in self._directory.glob("run-*"):
            old.unlink()
        path = self._directory / f"run-{next(self._numbers)}.db"
        return sqlite_at(path)


class Postgres:
    """Gives the same migrated database each time, emptied."""

    def __init__(self, url: str) -> None:
        self._url = url
        migrate(url)

    def __call__(self) -> str:
        clear(self._url)
        return self._url
