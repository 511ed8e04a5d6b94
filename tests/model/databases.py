"""A database for each run of the model: its schema, and nothing in it."""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

from sqlalchemy import create_engine

from scheduler.clock import SystemClock
from scheduler.store import StoreConfig, engines, schema
from scheduler.store.tables import metadata


class Sqlite:
    """Gives a copy of one migrated file each time, over the one before."""

    def __init__(self, directory: Path) -> None:
        self._numbers = count()
        self._directory = directory
        self._blank = directory / "blank.db"
        _migrate(f"sqlite:///{self._blank}")

    def __call__(self) -> str:
        for old in self._directory.glob("run-*"):
            old.unlink()
        path = self._directory / f"run-{next(self._numbers)}.db"
        shutil.copy(self._blank, path)
        return f"sqlite:///{path}"


class Postgres:
    """Gives the same migrated database each time, emptied."""

    def __init__(self, url: str) -> None:
        self._url = url
        _migrate(url)

    def __call__(self) -> str:
        engine = create_engine(StoreConfig(database_url=self._url).url())
        with engine.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        engine.dispose()
        return self._url


def _migrate(url: str) -> None:
    config = StoreConfig(database_url=url)
    writer = engines.make(config).writer
    schema.ensure(writer, config, now=SystemClock().now())
    writer.dispose()
