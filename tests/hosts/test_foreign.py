"""Machines that are not ours, looked at through libvirt: where they answer, what their disk is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.hosts.handles import Handle
from scheduler.model.observations import DomainState, ForeignMachine
from tests.hosts.subjects import IMAGE, Subject, on_libvirt, simulated

MAC = "52:54:00:a3:d5:1b"
DOMAIN = """
<domain type="test"><name>golden</name><uuid>{uuid}</uuid>
  <memory unit="MiB">64</memory><vcpu>1</vcpu><os><type>hvm</type></os>
  <devices>
    <disk type="file" device="cdrom"><source file="/nowhere.iso"/><target dev="hda"/></disk>
    {disks}
    <interface type="network"><mac address="{mac}"/><source network="default"/></interface>
    <interface type="bridge"><mac address="52:54:00:00:00:01"/><source bridge="br0"/></interface>
  </devices>
</domain>
"""
DISK = '<disk type="file"><source file="{path}"/><target dev="vd{letter}"/></disk>'
SNAPSHOT = """
<domainsnapshot><name>frozen</name><state>disk-snapshot</state>
  <creationTime>1700000000</creationTime>
  <disks><disk name="vda" snapshot="external"><source file="{path}"/></disk></disks>
  {domain}
</domainsnapshot>
"""


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Subject]:
    async with simulated(tmp_path) as subject:
        yield subject


async def put(host: Subject, *volumes: str, running: bool = True, snapshot: bool = False) -> str:
    """Define a machine on these volumes of the pool, or on a path that no pool knows."""
    uuid = str(uuid4())

    def act(handle: Handle) -> None:
        pool = handle.conn.storagePoolLookupByName(host.pool)
        known = {volume.name(): volume.path() for volume in pool.listAllVolumes(0)}
        paths = [known.get(volume, volume) for volume in volumes]
        disks = "".join(
            DISK.format(path=path, letter=letter)
            for path, letter in zip(paths, "abc", strict=False)
        )
        domain = handle.conn.defineXML(DOMAIN.format(uuid=uuid, mac=MAC, disks=disks))
        if snapshot:
            xml = SNAPSHOT.format(path=paths[0], domain=domain.XMLDesc(0))
            domain.snapshotCreateXML(xml, 1)  # redefine: only what the host remembers
        if running:
            domain.create()

    await on_libvirt(host.driver, act)
    return uuid


async def look(host: Subject, uuid: str) -> ForeignMachine:
    found = await host.driver.foreign_machine(uuid)
    assert found is not None
    return found


async def overlay(host: Subject, name: str) -> None:
    base = await host.driver.inspect_base(IMAGE)
    await host.driver.create_overlay(name, base, 64)


async def test_a_machine_that_runs_tells_its_addresses_and_its_disk(host: Subject) -> None:
    found = await look(host, await put(host, IMAGE, "/elsewhere.qcow2"))
    assert found.state is DomainState.RUNNING
    assert found.addresses[0].startswith("10.")
    assert f"lease of {MAC}" in found.said
    assert found.disks == 2
    assert found.disk is not None
    assert (found.disk.name, found.disk.capacity_mb, found.disk.backing) == (IMAGE, 64, None)
    assert found.disk.frozen is None


async def test_one_that_is_off_answers_nowhere(host: Subject) -> None:
    found = await look(host, await put(host, IMAGE, running=False))
    assert (found.state, found.addresses, found.said) == (DomainState.SHUT_OFF, (), {})
    assert (await look(host, await put_diskless(host))).disk is None


async def put_diskless(host: Subject) -> str:
    await on_libvirt(host.driver, _undefine)
    return await put(host, running=False)


def _undefine(handle: Handle) -> None:
    for domain in handle.conn.listAllDomains(0):
        domain.undefine()


async def test_a_disk_of_no_pool_is_told_as_none(host: Subject) -> None:
    assert (await look(host, await put(host, "/elsewhere.qcow2"))).disk is None


async def test_only_what_a_snapshot_froze_is_frozen(host: Subject) -> None:
    await overlay(host, "live.qcow2")
    merely_below = await look(host, await put(host, "live.qcow2"))
    assert merely_below.disk is not None
    assert merely_below.disk.backing is not None
    assert merely_below.disk.frozen is None
    await on_libvirt(host.driver, _end)
    frozen = await look(host, await put(host, "live.qcow2", snapshot=True))
    assert frozen.disk is not None
    assert (frozen.disk.name, frozen.disk.frozen) == ("live.qcow2", IMAGE)
    assert frozen.disk.frozen_at == 1700000000


def _end(handle: Handle) -> None:
    for domain in handle.conn.listAllDomains(0):
        domain.destroy()
        domain.undefine()
