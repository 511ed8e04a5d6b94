"""Turns at a host's pool: one at a time, again while it is busy, and long copies beside them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import libvirt
import pytest

from scheduler.hosts import Drivers, Keyring, ObjectBusy
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.handles import Handle
from scheduler.hosts.lanes import CallNotBegun
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.pool_turns import BUSY_SECONDS, HANGS_AT_MOST, POOL_VERBS
from scheduler.hosts.simulated import SimulatedHost, write_node_file
from scheduler.model.hosts import Transport
from tests.clocks import HurriedClock, ManualClock
from tests.hosts.interleaved import libvirt_error
from tests.hosts.subjects import CLUSTER, host_record

MEETING_SECONDS = 0.5
"""Only a fault that this waits for could be missed on a slow machine; no test fails by it."""


@pytest.fixture
def clock() -> ManualClock:
    return HurriedClock()


@pytest.fixture
async def driver(tmp_path: Path, clock: ManualClock) -> AsyncIterator[LibvirtDriver]:
    async with opened(tmp_path, clock) as made:
        yield made


@asynccontextmanager
async def opened(
    directory: Path, clock: ManualClock, deadlines: Mapping[Verb, float] = DEADLINE_SECONDS
) -> AsyncIterator[LibvirtDriver]:
    keyring = Keyring.open(directory / "cluster.key", str(CLUSTER))
    uri = write_node_file(directory, SimulatedHost(name="sim", cpus=8, memory_mb=8192))
    opening = Drivers.open(directory, keyring, clock, lambda _: None, deadlines=deadlines)
    async with opening as drivers:
        driver = drivers.get(host_record("sim", transport=Transport.TEST, uri=uri))
        assert isinstance(driver, LibvirtDriver)
        yield driver


def busy(times: int) -> Callable[[Handle, str], str]:
    """Return work on a pool that is busy so many times before it can be done."""
    left = [times]

    def work(_handle: Handle, pool: str) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise libvirt_error(
                libvirt.VIR_FROM_STORAGE,
                libvirt.VIR_ERR_INTERNAL_ERROR,
                f"pool '{pool}' has asynchronous jobs running.",
            )
        return pool

    return work


async def test_a_busy_pool_is_tried_again(driver: LibvirtDriver) -> None:
    assert await driver._on_pool(Verb.POOL, busy(3)) == "default"


async def test_a_pool_that_stays_busy_is_told_in_time(
    driver: LibvirtDriver, clock: ManualClock
) -> None:
    begun = clock.monotonic()
    with pytest.raises(ObjectBusy, match="asynchronous jobs"):
        await driver._on_pool(Verb.POOL, busy(10_000))
    assert BUSY_SECONDS <= clock.monotonic() - begun <= BUSY_SECONDS + 1


async def test_works_on_a_pool_take_turns(driver: LibvirtDriver) -> None:
    """Each waits a moment for another one to be at work with it."""
    together = threading.Barrier(2)
    met: list[int] = []

    def work(_handle: Handle, pool: str) -> str:
        with suppress(threading.BrokenBarrierError):
            met.append(together.wait(MEETING_SECONDS))
        return pool

    works = (driver._on_pool(Verb.POOL, work) for _ in range(4))
    assert await asyncio.gather(*works) == ["default"] * 4
    assert met == []


async def test_i8_a_pool_that_is_busy_for_one_is_not_for_all(driver: LibvirtDriver) -> None:
    """A refresh fails while a volume is copied; making and deleting others does not."""
    refreshing = asyncio.create_task(driver._on_pool(Verb.POOL, busy(10_000)))
    await asyncio.sleep(0)
    assert await driver._on_pool(Verb.CREATE_VOLUME, busy(0)) == "default"
    assert not refreshing.done()
    with pytest.raises(ObjectBusy):
        await refreshing


async def test_i8_nobody_waits_for_a_copy_of_ours(
    driver: LibvirtDriver, clock: ManualClock
) -> None:
    begun = clock.monotonic()
    with driver._turns.beside():
        await driver.ensure_pool()
        with pytest.raises(ObjectBusy, match="asynchronous jobs"):
            await driver._on_pool(Verb.POOL, busy(1))
        await driver.inventory()
    assert driver._refreshed_at is None
    assert clock.monotonic() == begun
    await driver.inventory()
    assert driver._refreshed_at == begun


async def test_i8_the_wait_for_a_turn_is_bounded(tmp_path: Path, clock: ManualClock) -> None:
    short = {**DEADLINE_SECONDS, **dict.fromkeys(POOL_VERBS, 0.002)}
    async with opened(tmp_path, clock, short) as driver:
        async with driver._turns.lock:
            with pytest.raises(CallNotBegun, match=r"asked of its pool before .* 0\.01 s"):
                await driver.ensure_pool()
        async with asyncio.timeout(60), driver._turns.lock:
            pass


def test_i8_nothing_that_takes_a_turn_takes_long() -> None:
    longest = max(DEADLINE_SECONDS[verb] for verb in POOL_VERBS)
    assert HANGS_AT_MOST * longest <= 600
    assert Verb.FLATTEN not in POOL_VERBS
