"""One suite, both engines: every test that takes `store` or `url` runs on SQLite and PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from scheduler.store import Store, StoreConfig, engines, schema
from scheduler.store.tables import metadata
from tests.clocks import START, ManualClock

Open = Callable[..., AbstractAsyncContextManager[Store]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def empty_url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database that holds nothing at all."""
    if engine_name == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("postgres").database()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy."""
    path = tmp_path_factory.mktemp("template") / "sandboxd.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """A migrated PostgreSQL database that tests leave empty."""
    url: str = request.getfixturevalue("postgres").database()
    migrate(url)
    return url


@pytest.fixture
def url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database without rows."""
    if engine_name == "sqlite":
        path = tmp_path / "sandboxd.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    shared: str = request.getfixturevalue("postgres_url")
    yield shared
    _clear(shared)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite database without rows."""
    path = tmp_path / "sandboxd.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with Store.open(StoreConfig(database_url=url), clock=clock) as opened:
        yield opened


def migrate(url: str) -> None:
    """Bring a database's schema up to date, as opening a store does."""
    config = StoreConfig(database_url=url)
    writer = engines.make(config).writer
    schema.ensure(writer, config, now=START)
    writer.dispose()


def _clear(url: str) -> None:
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()
