"""Calls are counted by how they end, as their host's own and among all of their kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.errors import (
    HostRefused,
    HostTimeout,
    HostUnreachable,
    IdentityChanged,
    SandboxdError,
)
from scheduler.hosts import Drivers, Keyring
from scheduler.hosts.calls import Calls, Fault, fault_of
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.failures import ObjectAbsent, ObjectBusy
from scheduler.hosts.lanes import CallNotBegun, Spent
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.simulated import SimulatedHost, write_node_file
from scheduler.model.hosts import HostResources, Transport
from tests.clocks import HurriedClock
from tests.hosts.calls import Gate
from tests.hosts.subjects import CLUSTER, host_record
from tests.waits import until


@pytest.fixture
def record(tmp_path: Path) -> HostResources:
    host = SimulatedHost(name="sim", cpus=8, memory_mb=8192)
    return host_record("sim", transport=Transport.TEST, uri=write_node_file(tmp_path, host))


@pytest.fixture
async def drivers(tmp_path: Path) -> AsyncIterator[Drivers]:
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    short = {**DEADLINE_SECONDS, Verb.LOOK_UP: 0.01}
    opening = Drivers.open(tmp_path, keyring, HurriedClock(), lambda _: None, deadlines=short)
    async with opening as made:
        yield made


def driver_of(drivers: Drivers, record: HostResources) -> LibvirtDriver:
    driver = drivers.get(record)
    assert isinstance(driver, LibvirtDriver)
    return driver


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (CallNotBegun("x"), Fault.NOT_BEGUN),
        (HostTimeout("x"), Fault.TIMEOUT),
        (HostUnreachable("x"), Fault.LOST),
        (IdentityChanged("x"), Fault.OTHER_MACHINE),
        (ObjectBusy("x"), Fault.BUSY),
        (ObjectAbsent("x"), Fault.ABSENT),
        (HostRefused("x"), Fault.REFUSED),
        (KeyError("x"), Fault.BUG),
    ],
)
def test_an_error_tells_why_a_call_failed(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


def ended(calls: Calls, error: BaseException, spent: Spent) -> None:
    """Count a call that started a domain and ended by this error, its time spent so."""
    with calls.of("HST-1").counted(Verb.START) as told:
        told.seconds, told.waited_seconds = spent.seconds, spent.waited_seconds
        raise error


def test_what_was_not_asked_of_a_host_has_no_duration() -> None:
    calls = Calls()
    with pytest.raises(CallNotBegun):
        ended(calls, CallNotBegun("too many wait"), Spent(waited_seconds=30.0))
    host = calls.hosts["HST-1"]
    assert (host.made, host.seconds, host.waited_seconds) == (0, 0.0, 30.0)
    assert host.failed == {Fault.NOT_BEGUN: 1}
    assert calls.failed == {(Verb.START, Fault.NOT_BEGUN): 1}
    assert sum(calls.lasted[Verb.START].counts) == 0
    assert sum(calls.waited.counts) == 1


def test_a_call_that_its_caller_left_is_not_counted() -> None:
    calls = Calls()
    with pytest.raises(asyncio.CancelledError):
        ended(calls, asyncio.CancelledError(), Spent(seconds=1.0))
    assert calls.hosts["HST-1"].made == 0
    assert not calls.failed


async def test_calls_that_succeed_are_counted_and_timed_by_their_kind(
    drivers: Drivers, record: HostResources
) -> None:
    await driver_of(drivers, record).inventory()
    calls, host = drivers.calls, drivers.calls.hosts[record.id]
    made = {verb: sum(durations.counts) for verb, durations in calls.lasted.items()}
    assert made[Verb.OPEN] == 1
    assert made[Verb.INVENTORY] == 1
    assert host.made == sum(made.values()) == sum(calls.waited.counts)
    assert host.seconds == pytest.approx(sum(each.sum_seconds for each in calls.lasted.values()))
    assert host.seconds > 0
    assert not host.failed


async def test_a_call_that_passes_its_deadline_took_that_long(
    drivers: Drivers, record: HostResources, gate: Gate
) -> None:
    driver = driver_of(drivers, record)
    with pytest.raises(HostTimeout):
        await driver._observing.call(Verb.LOOK_UP, lambda _: gate())
    calls = drivers.calls
    assert calls.failed[Verb.LOOK_UP, Fault.TIMEOUT] == 1
    assert calls.hosts[record.id].failed == {Fault.TIMEOUT: 1}
    assert calls.lasted[Verb.LOOK_UP].sum_seconds >= 0.01


async def test_a_refusal_is_counted_as_what_it_says(
    drivers: Drivers, record: HostResources
) -> None:
    with pytest.raises(SandboxdError):
        await driver_of(drivers, record).inspect_base("nowhere.qcow2")
    assert drivers.calls.hosts[record.id].failed == {Fault.ABSENT: 1}


async def test_what_a_host_tells_by_itself_is_counted(
    drivers: Drivers, record: HostResources
) -> None:
    driver = driver_of(drivers, record)
    await driver.inventory()
    host = drivers.calls.hosts[record.id]
    domain = (
        "<domain type='test'><name>x</name><memory>1</memory><os><type>hvm</type></os></domain>"
    )
    await driver._mutating.call(Verb.DEFINE, lambda handle: bool(handle.conn.defineXML(domain)))
    await until(lambda: host.events > 0, what="the event of a domain that is defined")


async def test_a_host_keeps_its_counts_by_another_way_and_loses_them_when_it_leaves(
    drivers: Drivers, record: HostResources, tmp_path: Path
) -> None:
    await driver_of(drivers, record).inventory()
    before = drivers.calls.hosts[record.id].made
    other = write_node_file(tmp_path, SimulatedHost(name="other", cpus=2, memory_mb=1024))
    moved = host_record("sim", transport=Transport.TEST, uri=other)
    await driver_of(drivers, moved).inventory()
    assert drivers.calls.hosts[record.id].made > before
    await drivers.forget(record.id)
    assert record.id not in drivers.calls.hosts
    assert sum(drivers.calls.lasted[Verb.INVENTORY].counts) == 2
