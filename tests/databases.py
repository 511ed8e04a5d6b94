"""Databases with the schema and nothing in it, without migrating anew for every test."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import create_engine

from scheduler.store import Limits, StoreConfig, engines, schema
from scheduler.store.tables import metadata
from tests.clocks import START

PATIENT = Limits(wait_seconds=240.0, connect_seconds=240.0, transaction_seconds=240.0)
"""For tests of something else: a machine that is busy for 5 s is no fault of the database's."""


def migrate(url: str) -> None:
    """Bring a database's schema up to date, as opening a store does."""
    config = StoreConfig(database_url=url)
    writer = engines.make(config, PATIENT).writer
    schema.ensure(writer, config, now=START)
    writer.dispose()


def clear(url: str) -> None:
    """Delete every row of a database."""
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


def sqlite_at(path: Path) -> str:
    """Return the URL of the database at `path`, which is made when there is none."""
    if not path.exists():
        path.write_bytes(_blank())
    return f"sqlite:///{path}"


@cache
def _blank() -> bytes:
    """Return a migrated database: the migrations cost more than most tests."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "blank.db")
        migrate(f"sqlite:///{path}")
        return path.read_bytes()
