"""What the command line's tests share: a short place for sockets, daemons sound and faulty."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.control.bugs import BugRecorder
from scheduler.control.command_loops import CommandLoops
from scheduler.control.tally import Untold
from scheduler.store import Store
from tests.cli.daemon import FaultyDaemon, serving
from tests.cli.fleet import Fleet, running_fleet
from tests.cli.running import Sandboxctl
from tests.guests.house import GuestHouse, guest_house
from tests.service.planes import IMAGE, database
from tests.waits import until


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


@pytest.fixture
async def house(fleet: Fleet, sandboxctl: Sandboxctl) -> AsyncIterator[GuestHouse]:
    """A sandbox `box` in which commands are carried out by this machine's shell."""
    plane = fleet.plane
    async with guest_house() as there:
        loops = CommandLoops(
            plane.store,
            plane.clock,
            guests=there,
            errands=plane.errands,
            tally=Untold(),
            told=plane.journal.poke,
            report_bug=BugRecorder(plane.store, plane.clock, parked=lambda: None).of_command,
        )
        work = asyncio.create_task(loops.run())
        waking = asyncio.create_task(_wake(plane.woken, loops))
        made = await sandboxctl.run("create", IMAGE, "--name", "box", "--agent", "me")
        assert made.code == 0, made.err
        try:
            yield there
        finally:
            waking.cancel()
            loops.stop()
            await asyncio.gather(work, waking, return_exceptions=True)


async def _wake(woken: list[str], loops: CommandLoops) -> None:
    while True:
        await until(lambda: any(key.startswith("CMD-") for key in woken), seconds=600)
        keys, woken[:] = list(woken), []
        for key in keys:
            if key.startswith("CMD-"):
                loops.wake(key)
