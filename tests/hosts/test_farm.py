"""Hosts that hang, die and come back, as processes that really do."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, closing, suppress
from functools import partial
from pathlib import Path

import libvirt
import pytest

import scheduler.hosts
from scheduler.errors import HostTimeout, HostUnreachable, IdentityChanged
from scheduler.hosts import BaseImage, DomainPlan, Drivers, HostDriver, Keyring, handles
from scheduler.hosts.calls import Fault
from scheduler.hosts.connection import Backoff
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.lanes import CALLS_AT_ONCE, CallNotBegun
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.plans import NewReplica
from scheduler.model.hosts import HostResources, VirtType
from scheduler.model.observations import Listening
from tests.clocks import ManualClock
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.hosts.calls import Gate
from tests.hosts.subjects import CLUSTER, host_record
from tests.waits import until, until_answer

MakeFarm = Callable[[int], LibvirtdFarm]
OpenDrivers = Callable[[Mapping[Verb, float]], AbstractAsyncContextManager[Drivers]]
SHORT = dict.fromkeys(Verb, 1.0)
BACKOFF = Backoff()
NOBODY = "00000000-0000-4000-8000-000000000000"
BASE = BaseImage(name="b", path="/b", format="qcow2", capacity=1, physical=1)
SHAPE = NewReplica(format="qcow2", size=1, capacity=1)
PLAN = DomainPlan(
    uuid=NOBODY,
    name="x",
    vcpus=1,
    memory_mb=1,
    mac="52:54:00:00:00:01",
    network="default",
    virt_type=VirtType.TEST,
    pool="default-pool",
    overlay="x",
    mark_document={"sandbox_id": "SBX-1", "domain_uuid": NOBODY},
)


@pytest.fixture
def hints() -> list[str]:
    return []


@pytest.fixture
def clock() -> ManualClock:
    """By which a host that could not be reached is dialled again."""
    return ManualClock()


@pytest.fixture
def drivers_of(tmp_path: Path, hints: list[str], clock: ManualClock) -> OpenDrivers:
    """Call it with deadlines of your own for drivers that keep to them."""
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    return partial(_opened, tmp_path, keyring, clock, hints)


def _opened(
    directory: Path,
    keyring: Keyring,
    clock: ManualClock,
    hints: list[str],
    deadlines: Mapping[Verb, float],
) -> AbstractAsyncContextManager[Drivers]:
    return Drivers.open(directory, keyring, clock, hints.append, deadlines=deadlines)


@pytest.fixture
def untiring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a host that is stopped for a moment not be taken for one that is gone."""
    monkeypatch.setattr(handles, "KEEPALIVE_SECONDS", 3600)


@pytest.fixture
async def drivers(drivers_of: OpenDrivers) -> AsyncIterator[Drivers]:
    async with drivers_of(DEADLINE_SECONDS) as made:
        yield made


def record(host: FarmHost, **values: object) -> HostResources:
    return host_record(host.name, uri=host.uri, pool="default-pool", **values)


def driver_of(drivers: Drivers, host: FarmHost) -> LibvirtDriver:
    driver = drivers.get(record(host))
    assert isinstance(driver, LibvirtDriver)
    return driver


def wait_for_answers(driver: LibvirtDriver, deadlines: Mapping[Verb, float]) -> None:
    """Have this host's calls wait so long from now on, and no other host's.

    A second is much for a host that is stopped, and may be little for one that is only slow.
    """
    for connection in driver._connections():
        connection._deadlines = deadlines


async def reachable(driver: LibvirtDriver, clock: ManualClock) -> bool:
    """Return whether the host answers, having let the time pass that it is not dialled for."""
    clock.advance(BACKOFF.last_seconds)
    try:
        await driver.inventory()
    except HostUnreachable:
        return False
    return True


@pytest.mark.usefixtures("untiring")
async def test_a_hung_host_costs_only_its_own_lane(
    drivers: Drivers, make_farm: MakeFarm, clock: ManualClock
) -> None:
    farm = make_farm(2)
    hung, healthy = (driver_of(drivers, host) for host in farm)
    await hung.inventory()
    await healthy.inventory()
    farm[0].suspend()
    wait_for_answers(hung, dict.fromkeys(Verb, 3600.0))
    stuck = asyncio.create_task(hung.inventory())
    for _ in range(20):
        await healthy.inventory()
    assert not stuck.done()
    farm[0].resume()
    await stuck
    farm[0].suspend()
    wait_for_answers(hung, SHORT)
    with pytest.raises(HostTimeout, match=r"farm1 did not .* within 1 s"):
        await hung.inventory()
    farm[0].resume()
    wait_for_answers(hung, DEADLINE_SECONDS)
    await until_answer(lambda: reachable(hung, clock), what="the host that was resumed")


@pytest.mark.usefixtures("untiring")
async def test_four_hung_calls_are_the_most_a_host_gets(
    drivers: Drivers, make_farm: MakeFarm, clock: ManualClock
) -> None:
    farm = make_farm(1)
    driver = driver_of(drivers, farm[0])
    await driver.inventory()
    await driver.undefine(NOBODY)  # opens the mutating connection too
    farm[0].suspend()
    wait_for_answers(driver, SHORT)
    lane = driver._observing._lane
    for _ in range(4):
        calls = asyncio.gather(driver.undefine(NOBODY), driver.volume("x"), return_exceptions=True)
        assert all(isinstance(failure, HostUnreachable) for failure in await calls)
        clock.advance(BACKOFF.last_seconds)
        if lane.abandoned == 4:
            break
    assert lane.abandoned == 4
    with pytest.raises(CallNotBegun, match="4 earlier calls"):
        await driver.inventory()
    farm[0].resume()
    wait_for_answers(driver, DEADLINE_SECONDS)
    await until(lambda: lane.abandoned == 0, what="the hung calls to return")
    await until_answer(lambda: reachable(driver, clock), what="the host that was resumed")


async def test_keepalive_ends_every_call_at_once(
    drivers_of: OpenDrivers,
    make_farm: MakeFarm,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libvirt 9.0 ends one call of a connection so; others on it would crash the process later."""
    monkeypatch.setattr(handles, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(handles, "KEEPALIVE_COUNT", 2)
    farm = make_farm(1)
    async with drivers_of(dict.fromkeys(Verb, 60.0)) as drivers:
        driver = driver_of(drivers, farm[0])
        for _ in range(2):
            await until_answer(lambda: all_open(driver, clock), what="all connections")
            farm[0].suspend()
            calls = (driver.inventory(), *(driver.volume(name) for name in "abc"))
            failures = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(failure) for failure in failures] == [HostUnreachable] * 4
            assert driver._watching._lane.abandoned == 0
            farm[0].resume()
            await until_answer(lambda: reachable(driver, clock), what="the host that was resumed")


async def all_open(driver: LibvirtDriver, clock: ManualClock) -> bool:
    """Ask for several things at once, and return whether each call has a connection by now."""
    if not await reachable(driver, clock):
        return False
    await asyncio.gather(*(driver.volume(name) for name in "abc"))
    return len(driver._observing._handles) == CALLS_AT_ONCE


async def test_a_killed_host_is_lost_at_once_and_found_again_after_its_restart(
    drivers: Drivers, make_farm: MakeFarm, hints: list[str], clock: ManualClock
) -> None:
    farm = make_farm(1)
    driver = driver_of(drivers, farm[0])
    await driver.inventory()
    hints.clear()
    farm[0].kill()
    with pytest.raises(HostUnreachable) as caught:
        await driver.inventory()
    assert not isinstance(caught.value, HostTimeout)
    assert caught.value.remedy
    await until(lambda: hints == [record(farm[0]).id], what="the hint of the lost connection")
    farm[0].restart()
    calls = drivers.calls.hosts[record(farm[0]).id]
    assert calls.failed[Fault.LOST] >= 1
    assert calls.reconnects == 0
    await until_answer(lambda: reachable(driver, clock), what="the restarted host")
    assert calls.reconnects == 1
    assert set(calls.failed) == {Fault.LOST}


async def test_a_host_that_is_down_is_dialled_now_and_then_only(
    drivers: Drivers, make_farm: MakeFarm, clock: ManualClock
) -> None:
    farm = make_farm(1)
    driver = driver_of(drivers, farm[0])
    farm[0].kill()
    with pytest.raises(HostUnreachable, match="could not be reached"):
        await driver.inventory()
    clock.advance(BACKOFF.first_seconds - 0.1)
    with pytest.raises(HostUnreachable, match=r"dialled again in 0\.1 s"):
        await driver.inventory()
    clock.advance(0.2)
    farm[0].restart()
    await driver.inventory()


VERBS: Mapping[str, Callable[[LibvirtDriver], Awaitable[object]]] = {
    "inventory": lambda driver: driver.inventory(),
    "domain": lambda driver: driver.domain(NOBODY),
    "ensure_pool": lambda driver: driver.ensure_pool(),
    "refresh_pool": lambda driver: driver.refresh_pool(),
    "volume": lambda driver: driver.volume("x"),
    "inspect_base": lambda driver: driver.inspect_base("x"),
    "create_overlay": lambda driver: driver.create_overlay("x", BASE, 1),
    "create_seed": lambda driver: driver.create_seed("x", b""),
    "users_of": lambda driver: driver.users_of("x"),
    "foreign_machine": lambda driver: driver.foreign_machine(NOBODY),
    "create_replica": lambda driver: driver.create_replica("x", SHAPE),
    "write_volume": lambda driver: driver.write_volume("x", 0, b"x"),
    "read_volume": lambda driver: driver.read_volume("x", 0, 1),
    "delete_volume": lambda driver: driver.delete_volume("x"),
    "volumes_absent": lambda driver: driver.volumes_absent(["x"]),
    "define": lambda driver: driver.define(PLAN),
    "start": lambda driver: driver.start(NOBODY),
    "shutdown": lambda driver: driver.shutdown(NOBODY),
    "power_off": lambda driver: driver.power_off(NOBODY),
    "undefine": lambda driver: driver.undefine(NOBODY),
    "resume": lambda driver: driver.resume(NOBODY),
    "flatten_volume": lambda driver: driver.flatten_volume("x", "y"),
    "take_snapshot": lambda driver: driver.take_snapshot(NOBODY, "x"),
    "revert_snapshot": lambda driver: driver.revert_snapshot(NOBODY, "x"),
    "delete_snapshot": lambda driver: driver.delete_snapshot(NOBODY, "x"),
    "live_layer": lambda driver: driver.live_layer(NOBODY),
    "settled_layer": lambda driver: driver.settled_layer(NOBODY),
    "create_layer": lambda driver: driver.create_layer("x", "y"),
    "freeze": lambda driver: driver.freeze(NOBODY, "x"),
    "merge": lambda driver: driver.merge(NOBODY, "x", "y", runs=False),
    "flush": lambda driver: driver.flush(NOBODY),
    "restate": lambda driver: driver.restate(PLAN),
    "listen": lambda driver: driver.listen([NOBODY]),
    "addresses": lambda driver: driver.addresses(NOBODY, "52:54:00:00:00:01", "default"),
}


def test_every_verb_is_tried_on_a_dead_host() -> None:
    port = {name for name in vars(HostDriver) if not name.startswith("_")}
    assert port - set(VERBS) == {"aclose"}


@pytest.mark.parametrize("dies", ["between calls", "while being dialled"])
async def test_no_verb_answers_for_a_dead_host(
    drivers: Drivers, make_farm: MakeFarm, dies: str
) -> None:
    farm = make_farm(1)
    driver = driver_of(drivers, farm[0])
    if dies == "between calls":
        await driver.inventory()
        await driver.undefine(NOBODY)
    farm[0].kill()
    for verb, call in VERBS.items():
        with pytest.raises(HostUnreachable):
            raise AssertionError(f"{verb} answered {await call(driver)!r}")


async def test_consoles_that_hang_close_a_lane_of_their_own(
    drivers: Drivers, make_farm: MakeFarm, gate: Gate, clock: ManualClock
) -> None:
    driver = driver_of(drivers, make_farm(1)[0])
    assert (await driver.listen([NOBODY]))[NOBODY].listening is Listening.UNSUPPORTED
    driver._listening._deadlines = {**DEADLINE_SECONDS, Verb.LISTEN: 0.2}
    with pytest.raises(HostTimeout):
        await driver._listening.call(Verb.LISTEN, lambda _handle: gate())
    with pytest.raises(CallNotBegun):
        await driver.listen([NOBODY])
    assert driver._watching._lane.abandoned == 0
    await driver.inventory()
    gate.open()

    async def heard_again() -> bool:
        clock.advance(BACKOFF.last_seconds)
        with suppress(HostUnreachable):
            return NOBODY in await driver.listen([NOBODY])
        return False

    driver._listening._deadlines = DEADLINE_SECONDS
    await until_answer(heard_again, what="a lane that is open again")


def test_the_call_that_answers_zero_for_a_dead_host_is_not_used() -> None:
    rooms = Path(scheduler.hosts.__file__).parent
    assert not [file for file in rooms.glob("*.py") if "getFreeMemory" in file.read_text()]


async def test_what_changed_while_a_host_was_away_is_seen(
    drivers: Drivers, make_farm: MakeFarm
) -> None:
    farm = make_farm(1)
    driver = driver_of(drivers, farm[0])
    (before,) = (await driver.inventory()).domains
    driver._watching._give_up(driver._watching._handles[0])
    with closing(libvirt.open(farm[0].uri)) as operator:
        domain = operator.lookupByName(before.name)
        xml = domain.XMLDesc(0).replace("<vcpu placement='static'>2<", "<vcpu>7<")
        domain.destroy()
        operator.defineXML(xml)
        del domain
    (after,) = (await driver.inventory()).domains
    assert (before.vcpus, after.vcpus) == (2, 7)


async def test_another_machine_at_the_same_address_is_refused_until_accepted(
    drivers: Drivers, make_farm: MakeFarm, clock: ManualClock
) -> None:
    farm = make_farm(1)
    seen = (await drivers.get(record(farm[0])).inventory()).host_uuid
    pinned = drivers.get(record(farm[0], host_uuid=NOBODY))
    with pytest.raises(IdentityChanged) as caught:
        await pinned.inventory()
    assert caught.value.details == {"expected": NOBODY, "found": seen}
    with pytest.raises(IdentityChanged):
        await pinned.undefine(NOBODY)
    accepted = drivers.get(record(farm[0], host_uuid=seen))
    assert accepted is pinned
    assert isinstance(accepted, LibvirtDriver)
    clock.advance(BACKOFF.last_seconds)
    assert (await accepted.inventory()).host_uuid == seen


async def test_connections_are_really_closed(tmp_path: Path, make_farm: MakeFarm) -> None:
    farm = make_farm(1)
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))

    async def open_and_close() -> None:
        async with Drivers.open(tmp_path, keyring, ManualClock(), lambda _: None) as drivers:
            driver = drivers.get(record(farm[0]))
            await driver.inventory()
            await driver.undefine(NOBODY)

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count

    await open_and_close()
    before, times = descriptors(), 10
    for _ in range(times):
        await open_and_close()
    # One left by each would be ten; a few come and go with what other tests left to be collected.
    assert descriptors() < before + times
