"""The world that these tests act on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.control.console_keeper import ConsoleKeeper
from tests.clocks import ManualClock
from tests.control.booting import SlowGuest, keeper_of
from tests.control.moving import Moving
from tests.control.snapshots import Bench, bench
from tests.control.world import World, world
from tests.hosts.fake import FakeDriver


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def empty(tmp_path: Path, clock: ManualClock) -> AsyncIterator[World]:
    """A world without hosts."""
    async with world(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
async def there(empty: World) -> World:
    """A world with one host, `alpha`, that was looked at and takes sandboxes."""
    await empty.add_seen_host("alpha")
    return empty


@pytest.fixture
def driver(there: World) -> FakeDriver:
    """The way to that host."""
    (found,) = there.drivers.by_host.values()
    assert isinstance(found, FakeDriver)
    return found


@pytest.fixture
async def box(empty: World) -> Bench:
    """A sandbox that runs on a machine of its own."""
    return await bench(empty)


@pytest.fixture
async def slow(empty: World) -> SlowGuest:
    """The way to a host on which guests boot for as long as a test wants."""
    empty.make_driver = SlowGuest
    driver = await empty.add_seen_host()
    assert isinstance(driver, SlowGuest)
    return driver


@pytest.fixture
def keeper(empty: World) -> ConsoleKeeper:
    """Who listens to them."""
    return keeper_of(empty)


@pytest.fixture
async def pair(empty: World) -> Moving:
    """Two hosts, `alpha` first."""
    for name in ("alpha", "beta"):
        await empty.add_seen_host(name)
    return Moving(empty)
