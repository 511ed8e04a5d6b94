"""A fleet at rest: records of running sandboxes, and simulated hosts on which their domains run.

Every domain carries the mark it would have been defined with, so that what looks at it finds
nothing to do; libvirt's own test driver stands for the hypervisors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from lxml import etree

from scheduler.hosts.marks import Keyring
from scheduler.hosts.simulated import SimulatedHost, node_xml
from scheduler.ids import Prefix, new_id
from scheduler.lifecycle.mark_documents import mark_document
from scheduler.model import (
    Allocation,
    AllocationState,
    DesiredState,
    HostHealth,
    HostResources,
    IpSource,
    Sandbox,
    SandboxState,
    Transport,
    Volume,
    VolumeRole,
)
from scheduler.store import Store, Transaction

MEMORY_MB = 256
NOW = datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A host and the sandboxes that run on it, as they are recorded."""

    host: HostResources
    sandboxes: tuple[Sandbox, ...]


def residents(
    directory: Path, hosts: int, each: int, *, ends: timedelta | None = None
) -> list[Resident]:
    """Return `hosts` hosts of `each` sandboxes, whose node files are to be in `directory`.

    With `ends`, their leases are spread evenly over that time from now.
    """
    count = max(1, hosts * each)

    def lease(number: int) -> datetime | None:
        return None if ends is None else NOW + ends * ((number + 1) / count)

    return [
        _resident(directory, row, [lease(row * each + number) for number in range(each)])
        for row in range(hosts)
    ]


def _resident(directory: Path, row: int, leases: Sequence[datetime | None]) -> Resident:
    name = f"host-{row:05}"
    host = HostResources(
        id=new_id(Prefix.HOST),
        name=name,
        address="localhost",
        transport=Transport.TEST,
        uri=f"test://{directory / name}.xml",
        created_at=NOW,
        updated_at=NOW,
    )
    return Resident(
        host=host, sandboxes=tuple(_sandbox(host, row, each, at) for each, at in enumerate(leases))
    )


def _sandbox(host: HostResources, row: int, number: int, expires_at: datetime | None) -> Sandbox:
    id = new_id(Prefix.SANDBOX)
    return Sandbox(
        id=id,
        job_id="benchmark",
        agent_id="benchmark",
        sandbox_name=f"box-{row}-{number}",
        base_image="debian-12.qcow2",
        network="default",
        ip_address=f"10.122.{number // 200}.{number % 200 + 2}",
        ip_source=IpSource.LEASE,
        ip_seen_at=NOW,
        state=SandboxState.RUNNING,
        desired_state=DesiredState.RUNNING,
        ttl_seconds=None if expires_at is None else 3600,
        expires_at=expires_at,
        vcpus=1,
        memory_mb=MEMORY_MB,
        storage_mb=1024,
        host_id=host.id,
        host_name=host.name,
        host_address=host.address,
        domain_uuid=str(uuid5(NAMESPACE_URL, id)),
        mac=f"52:54:00:{row % 256:02x}:{number // 256:02x}:{number % 256:02x}",
        created_at=NOW,
        updated_at=NOW,
        queued_at=NOW,
        running_at=NOW,
        reason_code="running",
        reason_message="as it was before",
    )


def write_node_file(resident: Resident, keyring: Keyring) -> None:
    """Write the host's node file, with every sandbox's domain running."""
    one = SimulatedHost(
        name=resident.host.name, cpus=4096, memory_mb=4096 + 512 * len(resident.sandboxes)
    )
    node = etree.fromstring(node_xml(one))
    for sandbox in resident.sandboxes:
        node.append(_domain(sandbox, keyring))
    path = Path((resident.host.uri or "").removeprefix("test://"))
    path.write_bytes(etree.tostring(node))


def _domain(sandbox: Sandbox, keyring: Keyring) -> etree._Element:
    domain = etree.Element("domain", type="test")
    for tag, text in (
        ("name", sandbox.sandbox_name),
        ("uuid", sandbox.domain_uuid),
        ("memory", str(sandbox.memory_mb * 1024)),
        ("vcpu", str(sandbox.vcpus)),
    ):
        etree.SubElement(domain, tag).text = text
    mark = keyring.sign(mark_document(sandbox, (_overlay(sandbox),)))
    etree.SubElement(domain, "metadata").append(etree.fromstring(mark))
    etree.SubElement(etree.SubElement(domain, "os"), "type").text = "hvm"
    interface = etree.SubElement(etree.SubElement(domain, "devices"), "interface", type="network")
    etree.SubElement(interface, "mac", address=sandbox.mac or "")
    etree.SubElement(interface, "source", network=sandbox.network)
    return domain


def _overlay(sandbox: Sandbox) -> Volume:
    return Volume(
        owner=sandbox.id,
        host_id=sandbox.host_id or "",
        pool="default",
        name=f"{sandbox.id.lower()}.qcow2",
        role=VolumeRole.OVERLAY,
        created_at=NOW,
    )


async def record(store: Store, fleet: Sequence[Resident]) -> None:
    """Write hosts, sandboxes and their allocations, a few hundred rows a transaction."""
    for resident in fleet:
        await store.submit(lambda tx, resident=resident: _add(tx, resident))  # type: ignore[misc]


def _add(tx: Transaction, resident: Resident) -> None:
    host = tx.hosts.add(resident.host)
    tx.hosts.observe(
        host.id,
        at=NOW,
        health=HostHealth.UP,
        arch="x86_64",
        total_cpus=4096,
        total_memory_mb=1 << 30,
        total_storage_mb=1 << 30,
        observed_pool_active=True,
        observed_storage_available_mb=1 << 30,
        observed_networks=("default",),
        observed_images=("debian-12.qcow2",),
        observed_at=NOW,
        last_seen_at=NOW,
    )
    for sandbox in resident.sandboxes:
        tx.sandboxes.add(sandbox)
        tx.allocations.record(_allocation(sandbox, host), beyond_limits=True)


def _allocation(sandbox: Sandbox, host: HostResources) -> Allocation:
    return Allocation(
        sandbox_id=sandbox.id,
        host_id=host.id,
        pool=host.pool,
        vcpus=sandbox.vcpus,
        memory_mb=sandbox.memory_mb,
        storage_mb=sandbox.storage_mb,
        state=AllocationState.ACTIVE,
        claimed_at=NOW,
    )
