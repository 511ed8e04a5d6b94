"""The hosts that the contract suite runs on, each with what a test needs beside the port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

from lxml import etree

from scheduler.clock import SystemClock
from scheduler.hosts import DomainPlan, HostDriver, Keyring
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.handles import Handle
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.simulated import SimulatedHost, SimulatedImage, write_node_file
from scheduler.ids import Prefix, domain_uuid, mac_address, new_id
from scheduler.model.hosts import HostResources, Transport, VirtType
from scheduler.model.observations import DomainState, StateReason
from tests.clocks import START
from tests.fleet.farm import FarmHost
from tests.fleet.host import Host
from tests.fleet.ssh import SshAccess
from tests.hosts.fake import FakeDomain, FakeDriver, FakeHost

CLUSTER = UUID("5b0d2c7e-9a60-4c0c-8e0a-8d8f8f0f4d11")
IMAGE = "golden.qcow2"
IMAGE_MB = 64

Plant = Callable[[str, str, str | None], Awaitable[None]]
"""Defines and starts a domain behind the driver's back: UUID, name, XML of a mark."""


@dataclass(slots=True, kw_only=True)
class Subject:
    """A host under the contract suite."""

    driver: HostDriver
    keyring: Keyring
    plant: Plant
    pause: Callable[[str], Awaitable[None]]
    """Pauses a domain behind the driver's back, by its UUID."""
    host_id: str
    virt_type: VirtType
    pool: str = "default"
    network: str = "default"
    image: str = IMAGE
    streams: bool = False
    has_guests: bool = True
    """Guests that listen and have addresses; machines with an empty disk have neither."""
    hints: list[str] = field(default_factory=list)

    def plan(self, name: str | None = None, **changes: object) -> DomainPlan:
        """Return a plan for a fresh sandbox, its mark included."""
        sandbox_id = new_id(Prefix.SANDBOX)
        uuid = str(domain_uuid(CLUSTER, sandbox_id))
        name = name or sandbox_id.lower()
        values: dict[str, object] = {
            "uuid": uuid,
            "name": name,
            "vcpus": 1,
            "memory_mb": 128,
            "mac": mac_address(UUID(uuid)),
            "network": self.network,
            "virt_type": self.virt_type,
            "pool": self.pool,
            "overlay": f"{name}.qcow2",
            "seed": f"{name}-seed.iso",
            "mark_document": {"sandbox_id": sandbox_id, "domain_uuid": uuid, "agent_id": "a1"},
        }
        return DomainPlan(**{**values, **changes})  # type: ignore[arg-type]

    async def make_volumes(self, plan: DomainPlan) -> None:
        """Make the disks that a plan names."""
        base = await self.driver.inspect_base(self.image)
        await self.driver.create_overlay(plan.overlay, base, IMAGE_MB)
        assert plan.seed is not None
        assert await self.driver.create_seed(plan.seed, b"\0" * 4096) is self.streams

    async def build(self, plan: DomainPlan) -> None:
        """Take every step up to a defined domain."""
        await self.make_volumes(plan)
        await self.driver.define(plan)


@asynccontextmanager
async def fake(directory: Path) -> AsyncIterator[Subject]:
    """Yield the fake."""
    keyring = Keyring.open(directory / "cluster.key", str(CLUSTER))
    host = FakeHost(host_id="HST-fake", host_uuid=str(uuid4()))
    host.add_image(IMAGE, IMAGE_MB, 8)
    hints: list[str] = []

    async def plant(uuid: str, name: str, mark_xml: str | None) -> None:
        host.domains[uuid] = FakeDomain(uuid=uuid, name=name, mark_xml=mark_xml)
        host.domains[uuid].state = type(host.domains[uuid].state).RUNNING

    async def pause(uuid: str) -> None:
        host.domains[uuid].state = DomainState.PAUSED
        host.domains[uuid].reason = StateReason.USER

    yield Subject(
        driver=FakeDriver(host, keyring, SystemClock(), hints.append),
        keyring=keyring,
        plant=plant,
        pause=pause,
        host_id=host.host_id,
        virt_type=VirtType.QEMU,
        streams=True,
        hints=hints,
    )


@asynccontextmanager
async def simulated(directory: Path) -> AsyncIterator[Subject]:
    """Yield libvirt's test driver in this process."""
    host = SimulatedHost(
        name="sim-1",
        cpus=8,
        memory_mb=16384,
        images=[SimulatedImage(name=IMAGE, capacity_mb=IMAGE_MB, physical_mb=8)],
    )
    record = host_record("sim-1", transport=Transport.TEST, uri=write_node_file(directory, host))
    async with _on_libvirt(directory, record, VirtType.TEST) as subject:
        yield subject


@asynccontextmanager
async def farm(directory: Path, farm_host: FarmHost) -> AsyncIterator[Subject]:
    """Yield libvirt's test driver behind a libvirtd of its own."""
    record = host_record(farm_host.name, uri=farm_host.uri, pool="default-pool")
    async with _on_libvirt(directory, record, VirtType.TEST) as subject:
        await on_libvirt(subject.driver, partial(_make_image, pool_name=record.pool))
        yield subject


@asynccontextmanager
async def real(directory: Path, host: Host, access: SshAccess) -> AsyncIterator[Subject]:
    """Yield a real libvirt host over ssh, running QEMU with empty disks."""
    record = host_record(
        host.name,
        address=host.address,
        transport=Transport.SSH,
        ssh_user="root",
        ssh_key=str(access.key),
        ssh_known_hosts=str(access.known_hosts),
        virt_type=VirtType.QEMU,
    )
    async with _on_libvirt(directory, record, VirtType.QEMU) as subject:
        subject.streams, subject.has_guests = True, False
        await on_libvirt(subject.driver, partial(_make_image, pool_name=record.pool))
        try:
            yield subject
        finally:
            await on_libvirt(subject.driver, _clear)


def host_record(name: str, **values: object) -> HostResources:
    """Return a host's record as the store would give it."""
    known: dict[str, object] = {
        "id": f"HST-{name}",
        "name": name,
        "address": "localhost",
        "updated_at": START,
    }
    return HostResources(**{**known, **values})  # type: ignore[arg-type]


async def on_libvirt(
    driver: HostDriver, act: Callable[[Handle], None], within: Verb = Verb.SNAPSHOT
) -> None:
    """Do something on the driver's own connection, behind the port's back.

    It may take as long as the kind of call that is named, ten minutes unless told.
    """
    assert isinstance(driver, LibvirtDriver)
    await driver._mutating.call(within, act)


@asynccontextmanager
async def _on_libvirt(
    directory: Path, record: HostResources, virt_type: VirtType
) -> AsyncIterator[Subject]:
    keyring = Keyring.open(directory / "cluster.key", str(CLUSTER))
    hints: list[str] = []
    async with Drivers.open(directory, keyring, SystemClock(), hints.append) as drivers:
        driver = drivers.get(record)

        async def plant(uuid: str, name: str, mark_xml: str | None) -> None:
            xml = foreign_xml(virt_type, uuid, name, mark_xml)
            await on_libvirt(driver, lambda handle: _define_and_start(handle, xml))

        async def pause(uuid: str) -> None:
            def suspend(handle: Handle) -> None:
                handle.conn.lookupByUUIDString(uuid).suspend()

            await on_libvirt(driver, suspend)

        yield Subject(
            driver=driver,
            keyring=keyring,
            plant=plant,
            pause=pause,
            host_id=record.id,
            virt_type=virt_type,
            pool=record.pool,
            hints=hints,
        )


def foreign_xml(virt_type: VirtType, uuid: str, name: str, mark_xml: str | None) -> str:
    """Return a small machine of somebody else, perhaps with a mark."""
    domain = etree.Element("domain", type=virt_type.value)
    etree.SubElement(domain, "name").text = name
    etree.SubElement(domain, "uuid").text = uuid
    if mark_xml is not None:
        etree.SubElement(domain, "metadata").append(etree.fromstring(mark_xml))
    etree.SubElement(domain, "memory", unit="MiB").text = "64"
    etree.SubElement(domain, "vcpu").text = "1"
    etree.SubElement(etree.SubElement(domain, "os"), "type").text = "hvm"
    return etree.tostring(domain, encoding="unicode")


def _define_and_start(handle: Handle, xml: str) -> None:
    handle.conn.defineXML(xml).create()


def _make_image(handle: Handle, pool_name: str) -> None:
    pool = handle.conn.storagePoolLookupByName(pool_name)
    pool.createXML(
        f"<volume><name>{IMAGE}</name><capacity unit='MiB'>{IMAGE_MB}</capacity>"
        "<allocation unit='MiB'>8</allocation>"
        "<target><format type='qcow2'/></target></volume>",
        0,
    )


def _clear(handle: Handle) -> None:
    """Leave nothing of a test on a host that others use after it."""
    for domain in handle.conn.listAllDomains(0):
        if domain.isActive():
            domain.destroy()
    for domain in handle.conn.listAllDomains(0):
        domain.undefineFlags(handle.abilities.undefine_flags)
    for volume in handle.conn.storagePoolLookupByName("default").listAllVolumes(0):
        if volume.name() != "small.qcow2":
            volume.delete(0)
