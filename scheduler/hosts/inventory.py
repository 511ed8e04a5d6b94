"""One complete look at a host in one hop: states in bulk, XML only for what is not known yet.

Only libvirt's own bookkeeping is asked, never a QEMU process, since one hung guest would stop the
whole look. What XML says is kept until libvirt tells of a change, and re-read now and then because
events can be missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import libvirt

from scheduler.hosts.descriptions import (
    DomainDescription,
    describe_domain,
    describe_volume,
    observed,
)
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import Keyring
from scheduler.model.hosts import VirtType
from scheduler.model.observations import (
    DomainState,
    Inventory,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    StateReason,
)

REREAD_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """When a look begins, for whom, and where."""

    host_id: str
    pool: str
    virt_type: VirtType
    begun_at: float
    """Monotonic seconds."""
    seen_at: datetime


class Memory:
    """What the XML of domains and volumes said, on one connection.

    `domain_changed` is called in libvirt's thread. A description read before a change was told is
    not kept, which is what counting the changes is for.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._domains: dict[str, tuple[float, DomainDescription]] = {}
        self._volumes: dict[str, ObservedVolume] = {}
        self._changes = 0

    def domain_changed(self, uuid: str) -> None:
        """Forget a domain's description."""
        self._changes += 1
        self._domains.pop(uuid, None)

    def forget_volumes(self) -> None:
        """Forget every volume: the pool was refreshed, so that its numbers are new."""
        self._volumes = {}

    def domain(self, domain: libvirt.virDomain, now: float) -> DomainDescription:
        """Return the domain's description, asking the host when it is not known."""
        uuid = domain.UUIDString()
        known = self._domains.get(uuid)
        if known is not None and now - known[0] < REREAD_SECONDS:
            return known[1]
        changes = self._changes
        description = describe_domain(domain.XMLDesc(0), uuid, self._keyring)
        if changes == self._changes:
            self._domains[uuid] = (now, description)
        return description

    def volume(self, volume: libvirt.virStorageVol) -> ObservedVolume:
        """Return the volume's description, asking the host when it is not known."""
        name = volume.name()
        known = self._volumes.get(name)
        if known is None:
            known = describe_volume(volume.XMLDesc(0)).volume
            self._volumes[name] = known
        return known

    def keep(self, domains: set[str], volumes: set[str]) -> None:
        """Forget what is no longer there."""
        for uuid in set(self._domains) - domains:
            self._domains.pop(uuid, None)
        for name in set(self._volumes) - volumes:
            self._volumes.pop(name, None)


def take_inventory(handle: Handle, look: Look, memory: Memory) -> Inventory:
    """Look at the host; blocking. Any failure of a part fails the whole."""
    conn, identity = handle.conn, handle.identity
    _, memory_mb, cpus, *_ = conn.getInfo()
    pool = _pool(conn, look.pool, memory)
    domains = _domains(conn, look.begun_at, memory)
    networks = {network.name(): bool(network.isActive()) for network in conn.listAllNetworks(0)}
    memory.keep(
        {domain.uuid for domain in domains},
        {volume.name for volume in pool.volumes} if pool else set(),
    )
    return Inventory(
        host_id=look.host_id,
        begun_at=look.begun_at,
        seen_at=look.seen_at,
        host_uuid=identity.host_uuid,
        libvirt_version=identity.libvirt_version,
        hypervisor_version=identity.hypervisor_version,
        arch=identity.arch,
        cpu_model=identity.cpu_model,
        total_cpus=cpus,
        total_memory_mb=memory_mb,
        virt_type=look.virt_type,
        pool=pool,
        networks=networks,
        domains=domains,
    )


def is_starved(domain: ObservedDomain) -> bool:
    """Return whether the host paused our guest because a write of it failed."""
    paused = (domain.state, domain.reason) == (DomainState.PAUSED, StateReason.IO_ERROR)
    return paused and domain.mark is not None


def find_domain(conn: libvirt.virConnect, uuid: str, keyring: Keyring) -> ObservedDomain | None:
    """Return the domain as it is now, with nothing remembered; None when there is none."""
    try:
        domain = conn.lookupByUUIDString(uuid)
        state, reason = domain.state()
        description = describe_domain(domain.XMLDesc(0), uuid, keyring)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    return observed(domain, state, reason, description)


def _domains(conn: libvirt.virConnect, now: float, memory: Memory) -> tuple[ObservedDomain, ...]:
    found: list[ObservedDomain] = []
    for domain, stats in conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0):
        try:
            description = memory.domain(domain, now)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # it went while we looked: absent is what it is now
            raise
        found.append(observed(domain, stats["state.state"], stats["state.reason"], description))
    return tuple(found)


def _pool(conn: libvirt.virConnect, name: str, memory: Memory) -> ObservedPool | None:
    try:
        pool = conn.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            return None
        raise
    if not pool.isActive():
        return ObservedPool(name=name, active=False)
    _, capacity, allocation, available = pool.info()
    return ObservedPool(
        name=name,
        active=True,
        capacity=capacity,
        allocation=allocation,
        available=available,
        volumes=_volumes(pool, memory),
    )


def _volumes(pool: libvirt.virStoragePool, memory: Memory) -> tuple[ObservedVolume, ...]:
    found: list[ObservedVolume] = []
    for volume in pool.listAllVolumes(0):
        try:
            found.append(memory.volume(volume))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
    return tuple(found)
