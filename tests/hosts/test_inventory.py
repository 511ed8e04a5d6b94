"""A look at a host: whole or not at all, and never older than what libvirt told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from scheduler.hosts import Keyring
from scheduler.hosts.abilities import TEST_IN_PROCESS
from scheduler.hosts.descriptions import REASONS, STATES, describe_domain, describe_volume
from scheduler.hosts.events import start_event_loop
from scheduler.hosts.handles import Handle, Listener, open_handle
from scheduler.hosts.inventory import REREAD_SECONDS, Look, Memory, take_inventory
from scheduler.hosts.simulated import (
    SimulatedDomain,
    SimulatedHost,
    SimulatedImage,
    write_node_file,
)
from scheduler.model.hosts import VirtType
from scheduler.model.observations import DomainState, Inventory, StateReason
from tests.clocks import START
from tests.fleet.process import wait_until
from tests.hosts.interleaved import after, interleaved, libvirt_error, raising

KEYRING = Keyring([b"k" * 32], "c")
LOOK = Look(
    host_id="HST-1", pool="default", virt_type=VirtType.TEST, begun_at=1000.0, seen_at=START
)


@pytest.fixture
def memory() -> Memory:
    return Memory(KEYRING)


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[Handle]:
    start_event_loop()
    host = SimulatedHost(
        name="sim",
        cpus=4,
        memory_mb=4096,
        images=[SimulatedImage(name=name, capacity_mb=64) for name in ("a.qcow2", "b.qcow2")],
        foreign_domains=[
            SimulatedDomain(name="one", vcpus=2, memory_mb=1024),
            SimulatedDomain(name="two", vcpus=1, memory_mb=512),
        ],
    )
    made = open_handle(write_node_file(tmp_path, host), TEST_IN_PROCESS, None)
    yield made
    made.close()


def names(inventory: Inventory) -> set[str]:
    return {domain.name for domain in inventory.domains}


def images(inventory: Inventory) -> set[str]:
    assert inventory.pool is not None
    return {volume.name for volume in inventory.pool.volumes}


class Count:
    """A hook that counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, method: Callable[..., object], *arguments: object) -> object:
        self.calls += 1
        return method(*arguments)


def test_xml_is_read_once_for_each_domain_and_volume(handle: Handle, memory: Memory) -> None:
    reads = Count()
    counted = interleaved(handle, {"XMLDesc": reads})
    first = take_inventory(counted, LOOK, memory)
    assert names(first) == {"one", "two"}
    assert reads.calls == 4
    assert take_inventory(counted, LOOK, memory) == first
    assert reads.calls == 4
    memory.forget_volumes()
    take_inventory(counted, LOOK, memory)
    assert reads.calls == 6
    late = replace(LOOK, begun_at=LOOK.begun_at + REREAD_SECONDS)
    take_inventory(counted, late, memory)
    assert reads.calls == 8


def test_a_change_that_is_told_is_read_again(handle: Handle, memory: Memory) -> None:
    first = take_inventory(handle, LOOK, memory)
    one = next(domain for domain in first.domains if domain.name == "one")
    xml = handle.conn.lookupByUUIDString(one.uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    handle.conn.lookupByUUIDString(one.uuid).destroy()
    handle.conn.defineXML(xml.replace("1048576", "2097152"))
    memory.domain_changed(one.uuid)
    second = take_inventory(handle, LOOK, memory)
    assert {domain.memory_mb for domain in second.domains if domain.name == "one"} == {2048}


def test_a_change_told_while_reading_is_not_missed(handle: Handle, memory: Memory) -> None:
    reads = Count()
    for domain in take_inventory(handle, LOOK, memory).domains:
        memory.domain_changed(domain.uuid)
    told = interleaved(handle, {"XMLDesc": after(lambda: memory.domain_changed("any"))})
    take_inventory(told, LOOK, memory)
    take_inventory(interleaved(handle, {"XMLDesc": reads}), LOOK, memory)
    assert reads.calls == 1


def test_what_is_gone_is_forgotten(handle: Handle, memory: Memory) -> None:
    take_inventory(handle, LOOK, memory)
    domain = handle.conn.lookupByName("one")
    domain.destroy()
    domain.undefine()
    handle.conn.storagePoolLookupByName("default").storageVolLookupByName("a.qcow2").delete(0)
    second = take_inventory(handle, LOOK, memory)
    assert (names(second), images(second)) == ({"two"}, {"b.qcow2"})
    assert len(memory._domains) == len(memory._volumes) == 1


def test_a_domain_that_goes_while_we_look_is_not_there(handle: Handle, memory: Memory) -> None:
    def vanish() -> None:
        for name in ("one", "two"):
            domain = handle.conn.lookupByName(name)
            domain.destroy()
            domain.undefine()

    def listed(method: Callable[..., object], *arguments: object) -> object:
        found = method(*arguments)
        vanish()
        return found

    found = take_inventory(interleaved(handle, {"getAllDomainStats": listed}), LOOK, memory)
    assert found.domains == ()


def test_a_volume_that_goes_while_we_look_is_not_there(handle: Handle, memory: Memory) -> None:
    def vanish(method: Callable[..., object], *arguments: object) -> object:
        listed = method(*arguments)
        pool = handle.conn.storagePoolLookupByName("default")
        pool.storageVolLookupByName("a.qcow2").delete(0)
        return listed

    found = take_inventory(interleaved(handle, {"listAllVolumes": vanish}), LOOK, memory)
    assert images(found) == {"b.qcow2"}


@pytest.mark.parametrize(
    "method",
    [
        "getInfo",
        "getAllDomainStats",
        "XMLDesc",
        "listAllNetworks",
        "listAllVolumes",
        "storagePoolLookupByName",
        "info",
        "isActive",
    ],
)
def test_a_part_that_fails_fails_the_whole(handle: Handle, memory: Memory, method: str) -> None:
    error = libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR)
    with pytest.raises(libvirt.libvirtError, match="told so"):
        take_inventory(interleaved(handle, {method: raising(error)}), LOOK, memory)


def test_a_domain_whose_xml_fails_fails_the_whole(handle: Handle, memory: Memory) -> None:
    take_inventory(handle, LOOK, memory)  # the volumes are known from here
    memory.domain_changed(handle.conn.lookupByName("one").UUIDString())
    error = libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR)
    with pytest.raises(libvirt.libvirtError, match="told so"):
        take_inventory(interleaved(handle, {"XMLDesc": raising(error)}), LOOK, memory)


def test_a_pool_that_is_absent_or_inactive_is_told_so(handle: Handle, memory: Memory) -> None:
    assert take_inventory(handle, replace(LOOK, pool="none"), memory).pool is None
    handle.conn.storagePoolLookupByName("default").destroy()
    pool = take_inventory(handle, LOOK, memory).pool
    assert pool is not None
    assert (pool.active, pool.volumes) == (False, ())


def test_a_listener_is_told_in_libvirts_thread(tmp_path: Path) -> None:
    start_event_loop()
    told: list[str] = []
    host = SimulatedHost(
        name="sim",
        cpus=1,
        memory_mb=1024,
    )
    handle = open_handle(
        write_node_file(tmp_path, host),
        TEST_IN_PROCESS,
        Listener(domain_changed=told.append, closed=lambda: None),
    )
    domain = handle.conn.defineXML(
        "<domain type='test'><name>x</name><memory>1024</memory><os><type>hvm</type></os></domain>"
    )
    uuid = domain.UUIDString()
    del domain
    wait_until(lambda: bool(told), what="libvirt's thread to tell of it")
    assert told == [uuid]
    assert handle.close() == 0


@pytest.mark.parametrize("state", range(8))
def test_every_state_of_libvirt_is_known(state: int) -> None:
    assert (state in STATES) == (state != libvirt.VIR_DOMAIN_NOSTATE)


@pytest.mark.parametrize(
    ("state", "reason", "folded"),
    [
        (3, 1, StateReason.USER),
        (3, 5, StateReason.IO_ERROR),
        (3, 10, StateReason.CRASHED),
        *[(3, passing, StateReason.TRANSIENT) for passing in (2, 3, 4, 7, 8, 9, 11, 12)],
        (5, 1, StateReason.GUEST_SHUTDOWN),
        (5, 2, StateReason.KILLED),
        (5, 3, StateReason.CRASHED),
        (5, 6, StateReason.CRASHED),
        (6, 0, StateReason.CRASHED),
        (6, 1, StateReason.CRASHED),
        (5, 0, None),
        (5, 8, None),
        (1, 1, None),
    ],
)
def test_reasons_are_folded_to_what_the_rules_distinguish(
    state: int, reason: int, folded: StateReason | None
) -> None:
    assert REASONS.get((state, reason)) is folded
    assert STATES[state] in DomainState


def test_amounts_are_read_in_any_unit() -> None:
    xml = (
        "<domain><vcpu>3</vcpu><memory unit='{unit}'>{amount}</memory>"
        "<metadata><other xmlns='urn:x'/></metadata></domain>"
    )
    for unit, amount in (("KiB", 1048577), ("bytes", 2**30 + 1), ("MiB", 1025)):
        told = describe_domain(xml.format(unit=unit, amount=amount), "u", KEYRING)
        assert (told.vcpus, told.memory_mb, told.mark, told.forged) == (3, 1025, None, False)
    assert describe_domain("<domain/>", "u", KEYRING).memory_mb == 0


def test_a_volume_without_a_physical_size_has_its_allocation() -> None:
    told = describe_volume(
        "<volume><name>v</name><key>/k</key><capacity>9</capacity>"
        "<allocation>5</allocation></volume>"
    ).volume
    assert (told.path, told.capacity, told.physical, told.format) == ("/k", 9, 5, None)
