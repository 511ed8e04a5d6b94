"""Machines as a poller sees them: domains and volumes at will, put into the plane's listings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from scheduler import ids
from scheduler.lifecycle.mark_documents import mark_document
from scheduler.model import (
    AllocationState,
    DomainState,
    HostResources,
    Inventory,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    Sandbox,
    SandboxState,
    StateReason,
    VirtType,
    Volume,
    VolumeRole,
    VolumeState,
)
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.planes import CLUSTER, IMAGE, Plane

MIB = 2**20


@dataclass(kw_only=True)
class Machine:
    """What one host holds."""

    plane: Plane
    host: HostResources
    domains: dict[str, ObservedDomain] = field(default_factory=dict)
    volumes: dict[str, ObservedVolume] = field(default_factory=dict)

    def holds(
        self,
        sandbox: Sandbox,
        state: DomainState = DomainState.RUNNING,
        *,
        group: str | None = None,
    ) -> ObservedDomain:
        """Let the machine hold what a sandbox consists of, marked as the builder marks it."""
        volumes = volumes_of(sandbox, self.host)
        domain = ObservedDomain(
            uuid=sandbox.domain_uuid or "",
            name=sandbox.sandbox_name,
            state=state,
            reason=StateReason.OTHER,
            vcpus=sandbox.vcpus,
            memory_mb=sandbox.memory_mb,
            mark=Mark(
                key_id="k",
                cluster_id=str(CLUSTER),
                sandbox_id=sandbox.id,
                domain_uuid=sandbox.domain_uuid or "",
                text=json.dumps(mark_document(sandbox, volumes, anti_affinity_group=group)),
            ),
        )
        self.domains[domain.uuid] = domain
        for volume in volumes:
            self.volumes[volume.name] = ObservedVolume(
                name=volume.name, path=f"/pool/{volume.name}", capacity=MIB, physical=MIB
            )
        return domain

    def see(self, *, times: int = 1) -> Inventory:
        """Let the poller see the machine as it is, so many times in a row."""
        for _ in range(times):
            if isinstance(self.plane.clock, ManualClock):
                self.plane.clock.advance(1)
            self.plane.listings.put(self._inventory())
        return self._inventory()

    async def see_and_record(self) -> None:
        """Let the poller see the machine and write what others use of it."""
        self.see()
        running = [one for one in self.domains.values() if one.state is not DomainState.SHUT_OFF]
        await self.plane.poll(
            self.host,
            unmanaged_cpus=sum(one.vcpus for one in running),
            unmanaged_memory_mb=sum(one.memory_mb for one in running),
        )

    def _inventory(self) -> Inventory:
        clock = self.plane.clock
        return Inventory(
            host_id=self.host.id,
            begun_at=clock.monotonic(),
            seen_at=clock.now(),
            host_uuid="3f4c",
            libvirt_version="9.0.0",
            arch="x86_64",
            total_cpus=8,
            total_memory_mb=65536,
            virt_type=VirtType.QEMU,
            pool=ObservedPool(
                name=self.host.pool,
                active=True,
                allocation=len(self.volumes) * MIB,
                volumes=tuple(self.volumes.values()),
            ),
            networks={"default": True},
            domains=tuple(self.domains.values()),
        )


def volumes_of(sandbox: Sandbox, host: HostResources) -> tuple[Volume, ...]:
    """The volumes that building a sandbox lists."""
    names = {
        f"{sandbox.id.lower()}.qcow2": VolumeRole.OVERLAY,
        f"{sandbox.id.lower()}-seed.iso": VolumeRole.SEED,
    }
    return tuple(
        Volume(
            owner=sandbox.id,
            host_id=host.id,
            pool=host.pool,
            name=name,
            role=role,
            state=VolumeState.CREATED,
            created_at=sandbox.created_at,
        )
        for name, role in names.items()
    )


async def machine(plane: Plane, name: str = "alpha") -> Machine:
    """The machine behind a host of the plane, empty."""
    return Machine(plane=plane, host=await plane.services.hosts.get(name))


async def built(machine: Machine, sandbox: Sandbox) -> Sandbox:
    """Record a sandbox as built on a machine, which then holds it."""
    machine.holds(sandbox)

    def unit(tx: Transaction) -> None:
        for volume in volumes_of(sandbox, machine.host):
            tx.volumes.add(volume)

    await machine.plane.store.submit(unit)
    return sandbox


def lost(machine: Machine, name: str = "lost", **fields: Any) -> Sandbox:
    """A sandbox that a lost database knew: its machine holds it, and no record does."""
    sandbox_id = ids.new_id(ids.Prefix.SANDBOX)
    domain = ids.domain_uuid(CLUSTER, sandbox_id)
    now = machine.plane.clock.now()
    given: dict[str, Any] = {
        "id": sandbox_id,
        "job_id": "JOB-1",
        "agent_id": "agent-1",
        "sandbox_name": name,
        "base_image": IMAGE,
        "network": "default",
        "state": SandboxState.RUNNING,
        "vcpus": 2,
        "memory_mb": 2048,
        "storage_mb": 10240,
        "ttl_seconds": 7200,
        "created_at": now,
        "updated_at": now,
        "domain_uuid": str(domain),
        "mac": ids.mac_address(domain),
    }
    sandbox = Sandbox(**given | fields)
    machine.holds(sandbox)
    return sandbox


async def move(machine: Machine, sandbox: Sandbox, to: HostResources) -> None:
    """Have a sandbox be on another host, and this one still charged with what it may hold."""

    def unit(tx: Transaction) -> None:
        held = tx.allocations.get(sandbox.id, machine.host.id)
        tx.allocations.mark_releasing(sandbox.id, machine.host.id)
        tx.allocations.claim(replace(held, host_id=to.id, state=AllocationState.CLAIMED))
        before = tx.sandboxes.get(sandbox.id)
        tx.sandboxes.replace(
            replace(before, host_id=to.id, host_name=to.name),
            expected_generation=before.generation,
        )
        for volume in volumes_of(sandbox, to):
            tx.volumes.add(volume)

    await machine.plane.store.submit(unit)
