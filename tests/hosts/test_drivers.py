"""The drivers in use, and what one adds to libvirt: refreshes, hints, an end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.errors import HostTimeout, HostUnreachable
from scheduler.hosts import Drivers, Keyring
from scheduler.hosts.connection import Backoff
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.libvirt_driver import REFRESH_SECONDS, LibvirtDriver
from scheduler.hosts.plans import NewReplica
from scheduler.hosts.simulated import (
    SimulatedDomain,
    SimulatedHost,
    SimulatedImage,
    write_node_file,
)
from scheduler.model.hosts import HostResources, Transport
from scheduler.model.observations import DomainState
from tests.clocks import HurriedClock, ManualClock
from tests.hosts.calls import HANGS_SECONDS
from tests.hosts.races import PLAN
from tests.hosts.subjects import CLUSTER, host_record

SIMULATED_POOL_BYTES = 100 * 2**30


@pytest.fixture
def clock() -> ManualClock:
    return HurriedClock()


@pytest.fixture
def record(tmp_path: Path) -> HostResources:
    host = SimulatedHost(
        name="sim",
        cpus=8,
        memory_mb=8192,
    )
    return host_record("sim", transport=Transport.TEST, uri=write_node_file(tmp_path, host))


@pytest.fixture
async def drivers(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Drivers]:
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    async with Drivers.open(tmp_path, keyring, clock, lambda _: None) as made:
        yield made


@pytest.fixture
async def driver(drivers: Drivers, record: HostResources) -> LibvirtDriver:
    made = drivers.get(record)
    assert isinstance(made, LibvirtDriver)
    return made


async def test_a_host_has_one_driver_for_as_long_as_the_way_stays(
    drivers: Drivers, record: HostResources
) -> None:
    driver = drivers.get(record)
    await driver.inventory()
    changed = replace(record, labels={"a": "b"}, ratio_cpu=2.0, generation=7, pool="other")
    assert drivers.get(changed) is driver
    assert (await driver.inventory()).pool is None


async def test_another_way_is_another_driver_and_the_old_one_is_closed(
    drivers: Drivers, record: HostResources, tmp_path: Path
) -> None:
    driver = drivers.get(record)
    await driver.inventory()
    elsewhere = SimulatedHost(
        name="sim-2",
        cpus=2,
        memory_mb=1024,
    )
    moved = drivers.get(replace(record, uri=write_node_file(tmp_path, elsewhere)))
    assert moved is not driver
    assert (await moved.inventory()).total_cpus == 2
    with pytest.raises(HostUnreachable, match="no longer talked to"):
        await driver.inventory()


async def test_a_forgotten_host_is_let_go_of(drivers: Drivers, record: HostResources) -> None:
    driver = drivers.get(record)
    await driver.inventory()
    await drivers.forget(record.id)
    with pytest.raises(HostUnreachable):
        await driver.inventory()
    assert drivers.get(record) is not driver


async def test_a_simulated_host_stays_itself_when_its_calls_hang(
    tmp_path: Path, record: HostResources, clock: ManualClock
) -> None:
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    short = {**DEADLINE_SECONDS, Verb.LOOK_UP: 0.01}
    opened = Drivers.open(tmp_path, keyring, clock, lambda _: None, deadlines=short)
    async with opened as drivers:
        driver = drivers.get(record)
        assert isinstance(driver, LibvirtDriver)
        base = await driver.inspect_base("debian-12.qcow2")
        await driver.create_overlay("kept.qcow2", base, 4096)
        hung = asyncio.Event()
        with pytest.raises(HostUnreachable):
            await driver._observing.call(Verb.LOOK_UP, lambda _: _spin(hung))
        hung.set()
        inventory = await driver.inventory()
        assert inventory.pool is not None
        assert "kept.qcow2" in {volume.name for volume in inventory.pool.volumes}


async def test_no_second_call_on_a_disk_is_begun_while_one_hangs(
    tmp_path: Path, record: HostResources, clock: ManualClock
) -> None:
    """It would delete the layer that the first one is putting the guest on."""
    keyring, hung = Keyring.open(tmp_path / "cluster.key", str(CLUSTER)), threading.Event()
    short = {**DEADLINE_SECONDS, Verb.FREEZE: 0.01}
    opened = Drivers.open(tmp_path, keyring, clock, lambda _: None, deadlines=short)
    async with opened as drivers:
        driver = drivers.get(record)
        assert isinstance(driver, LibvirtDriver)
        with pytest.raises(HostTimeout):
            await driver._on_pool(
                Verb.FREEZE, lambda *_: hung.wait(HANGS_SECONDS), subject=PLAN.uuid
            )
        for attempt in (driver.freeze(PLAN.uuid, "l"), driver.settled_layer(PLAN.uuid)):
            with pytest.raises(HostUnreachable, match="still hangs"):
                await attempt
        hung.set()


def _spin(hung: asyncio.Event) -> None:
    while not hung.is_set():
        pass


async def test_a_poll_refreshes_the_pool_now_and_then(
    driver: LibvirtDriver, clock: ManualClock
) -> None:
    refreshed_at = []
    for _ in range(3):
        await driver.inventory()
        refreshed_at.append(driver._refreshed_at)
        clock.advance(REFRESH_SECONDS / 2)
    await driver.volumes_absent(["x"])
    refreshed_at.append(driver._refreshed_at)
    assert refreshed_at == [1000, 1000, 1000 + REFRESH_SECONDS, 1000 + 1.5 * REFRESH_SECONDS]


async def test_a_replica_that_is_begun_is_no_refresh(
    driver: LibvirtDriver, clock: ManualClock
) -> None:
    """Volumes are read anew, as another of its name may have been there; the pool is still due."""
    await driver.inventory()
    clock.advance(REFRESH_SECONDS / 2)
    shape = NewReplica(format="qcow2", size=2**20, capacity=2**20)
    for size in (2**20, 2**21):
        await driver.create_replica("image", replace(shape, capacity=size))
        pool = (await driver.inventory()).pool
        assert pool is not None
        assert [one.capacity for one in pool.volumes if one.name == "image"] == [size]
    assert driver._refreshed_at == 1000


async def test_a_poll_does_not_wait_for_work_on_the_pool(
    driver: LibvirtDriver, clock: ManualClock
) -> None:
    async with driver._turns.lock:
        inventory = await driver.inventory()
    assert inventory.pool is not None
    assert driver._refreshed_at is None


async def test_a_host_without_its_pool_is_seen_all_the_same(
    drivers: Drivers, record: HostResources
) -> None:
    inventory = await drivers.get(replace(record, pool="none")).inventory()
    assert inventory.pool is None
    assert inventory.total_cpus == 8


async def test_what_is_simulated_is_what_was_asked_for(drivers: Drivers, tmp_path: Path) -> None:
    host = SimulatedHost(
        name="demo <&'> 1",
        cpus=6,
        memory_mb=3000,
        images=[SimulatedImage(name="one.qcow2", capacity_mb=100, physical_mb=10)],
        foreign_domains=[SimulatedDomain(name="theirs", vcpus=3, memory_mb=700)],
        pool="fast",
        network="lab",
        subnet=77,
    )
    uri = write_node_file(tmp_path, host)
    record = host_record("demo", transport=Transport.TEST, uri=uri, pool="fast", network="lab")
    inventory = await drivers.get(record).inventory()
    assert (inventory.total_cpus, inventory.total_memory_mb) == (6, 3000)
    assert inventory.arch == "x86_64"
    assert inventory.networks == {"lab": True}
    assert inventory.pool is not None
    assert inventory.pool.capacity == SIMULATED_POOL_BYTES
    (volume,) = inventory.pool.volumes
    assert (volume.name, volume.capacity) == ("one.qcow2", 100 * 2**20)
    assert volume.physical == 10 * 2**20
    (domain,) = inventory.domains
    assert (domain.name, domain.state) == ("theirs", DomainState.RUNNING)
    assert (domain.vcpus, domain.memory_mb) == (3, 700)


async def test_simulated_hosts_are_known_by_their_files_name(
    drivers: Drivers, tmp_path: Path
) -> None:
    uuids = []
    for number in (1, 2, 3):
        host = SimulatedHost(
            name=f"sim-{number}",
            cpus=1,
            memory_mb=1024,
        )
        uri = write_node_file(tmp_path, host)
        driver = drivers.get(host_record(f"h{number}", transport=Transport.TEST, uri=uri))
        uuids.append((await driver.inventory()).host_uuid)
    assert len(set(uuids)) == 3


def test_dialling_backs_off_to_a_bound() -> None:
    backoff = Backoff(first_seconds=0.5, last_seconds=8)
    assert [backoff.after(failures) for failures in (1, 2, 3, 5, 6, 1000)] == [
        0.5, 1, 2, 8, 8, 8,
    ]  # fmt: skip
