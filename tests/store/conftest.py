"""One suite, both engines: every test that takes `store` or `url` runs on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from scheduler.store import Store, StoreConfig
from tests.clocks import ManualClock
from tests.databases import PATIENT, clear, migrate, sqlite_at

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
def postgres_url(request: pytest.FixtureRequest) -> str:
    """A migrated PostgreSQL database that tests leave empty."""
    url: str = request.getfixturevalue("postgres").database()
    migrate(url)
    return url


@pytest.fixture
def url(engine_name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database without rows."""
    if engine_name == "sqlite":
        yield sqlite_at(tmp_path / "sandboxd.db")
        return
    shared: str = request.getfixturevalue("postgres_url")
    yield shared
    clear(shared)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a migrated SQLite database without rows."""
    return sqlite_at(tmp_path / "sandboxd.db")


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    async with Store.open(StoreConfig(database_url=url), clock=clock, limits=PATIENT) as opened:
        yield opened
