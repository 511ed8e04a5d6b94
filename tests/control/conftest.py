"""The world that these tests act on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.control.world import DATABASE, World, world


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema and nothing in it, made once, because migrating takes long."""
    directory = tmp_path_factory.mktemp("blank")

    async def make() -> None:
        async with world(directory, ManualClock()):
            pass

    asyncio.run(make())
    return directory / DATABASE


@pytest.fixture
async def empty(tmp_path: Path, clock: ManualClock, blank_database: Path) -> AsyncIterator[World]:
    """A world without hosts."""
    shutil.copy(blank_database, tmp_path / DATABASE)
    async with world(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
async def there(empty: World) -> World:
    """A world with one host, `alpha`, that was looked at and takes sandboxes."""
    await empty.add_seen_host("alpha")
    return empty
