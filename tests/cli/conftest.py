"""What the command line's tests share: a short place for sockets, daemons sound and faulty."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.store import Store
from tests.cli.daemon import FaultyDaemon, serving
from tests.cli.fleet import Fleet, running_fleet
from tests.cli.running import Sandboxctl
from tests.service.planes import database


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Where a daemon may listen; short, as Unix sockets' names must be."""
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:
        yield Path(directory) / "admin.sock"


@pytest.fixture
def sandboxctl(socket_path: Path) -> Sandboxctl:
    """The command line, told where the daemon is by its environment."""
    return Sandboxctl(socket_path)


@pytest.fixture
def daemon(socket_path: Path) -> Iterator[FaultyDaemon]:
    """A daemon whose every answer the test decides."""
    with serving(FaultyDaemon(socket_path)) as running:
        yield running


@pytest.fixture(scope="session")
def blank_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a database that was migrated once for all tests."""
    directory = tmp_path_factory.mktemp("blank")

    async def migrate() -> None:
        async with Store.open(database(directory)):
            pass

    asyncio.run(migrate())
    return directory


@pytest.fixture
async def fleet(socket_path: Path, blank_state: Path) -> AsyncIterator[Fleet]:
    """The real application over a real store, with hosts that always succeed."""
    shutil.copytree(blank_state, socket_path.parent, dirs_exist_ok=True)
    async with running_fleet(socket_path) as running:
        yield running
