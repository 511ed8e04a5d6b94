"""One look at one host: ask it, check that it is the machine we know, write down what was seen.

Only a complete look is written; a failed one is a missed poll and nothing else. What follows from
the facts for the host's sandboxes is left to the rules and to their workers. A sandbox built while
its host was being listed is ours all the same: what the records do not explain is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from scheduler.clock import Clock
from scheduler.control.listings import Listings
from scheduler.errors import HostError, IdentityChanged, NotFound, SandboxdError, Unreadable
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import health
from scheduler.lifecycle.health import Streak, Verdict
from scheduler.lifecycle.identity import identity_fault
from scheduler.lifecycle.usage import unmanaged
from scheduler.model import (
    Event,
    HostHealth,
    HostResources,
    Inventory,
    ReplicaState,
    Sandbox,
    Snapshot,
    Volume,
    VolumeRole,
    VolumeState,
)
from scheduler.store import HostFacts, Store, Transaction

_MIB = 1024 * 1024
_CHARGED_AS_SEEN = frozenset({VolumeRole.IMAGE, VolumeRole.DISK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Arriving:
    """A replica that a host is being given, or a disk copied, and the bytes it may have."""

    volume: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecords:
    """What the store knows of a host when a look at it begins."""

    host: HostResources
    sandboxes: tuple[Sandbox, ...]
    volumes: tuple[Volume, ...]
    holders: frozenset[str] = frozenset()
    """The sandboxes that have an allocation here."""
    arriving: tuple[Arriving, ...] = ()
    """Images that are on their way to the host: the room for them is spoken for."""
    leaving: tuple[Sandbox, ...] = ()
    """Live sandboxes that moved from here and may have left something, which is still charged."""
    under_way: Mapping[str, Snapshot] = field(default_factory=dict)
    """The snapshot of each sandbox here for which something is still to be done."""
    unreadable: Mapping[str, str | None] = field(default_factory=dict)
    """The domain of each live sandbox here of which no more can be read: nothing is done to it."""

    def ours(self) -> frozenset[str]:
        """Return the UUIDs of the domains that a claim on this host stands for."""
        known = (*self.sandboxes, *self.leaving)
        domains = (*(one.domain_uuid for one in known), *self.unreadable.values())
        return frozenset(uuid for uuid in domains if uuid is not None)

    def explains(self, inventory: Inventory) -> bool:
        """Return whether a record stands for every domain that carries our mark."""
        ours = self.ours()
        return all(domain.uuid in ours for domain in inventory.domains if domain.mark is not None)

    def with_newer(self, newer: HostRecords) -> HostRecords:
        """Return these records and those read later, which win; what is gone since stays."""
        sandboxes = {one.id: one for one in (*self.sandboxes, *newer.sandboxes)}
        volumes = {(one.pool, one.name): one for one in (*self.volumes, *newer.volumes)}
        return HostRecords(
            host=newer.host,
            sandboxes=tuple(sandboxes.values()),
            volumes=tuple(volumes.values()),
            holders=self.holders | newer.holders,
            arriving=newer.arriving,
            leaving=newer.leaving,
            under_way=newer.under_way,
            unreadable=newer.unreadable,
        )

    def volume_names(self) -> frozenset[str]:
        """Return the names of the volumes we listed in the host's pool."""
        return frozenset(v.name for v in self.volumes if v.pool == self.host.pool)

    def claimed_names(self) -> frozenset[str]:
        """Return the volumes that allocations stand for; others are charged as they are seen.

        Those of a destroyed sandbox are among the others: they are listed to be removed.
        """
        mine = (v for v in self.volumes if v.pool == self.host.pool and v.owner in self.holders)
        return frozenset(v.name for v in mine if v.role not in _CHARGED_AS_SEEN)

    def still_to_come_mb(self) -> int:
        """Return the MiB that images on their way may take beside what their pool says is used.

        All of each: the pool's numbers are as old as its last refresh, and a volume is as large as
        it is to be from its beginning, so that nothing tells what of it is among them.
        """
        return -(-sum(one.size_bytes for one in self.arriving) // _MIB)

    def appeared(self, inventory: Inventory) -> frozenset[str]:
        """Return the planned volumes that are there: whoever made them died before saying so."""
        pool = inventory.pool
        there = {volume.name for volume in (() if pool is None else pool.volumes)}
        return frozenset(v.name for v in self.volumes if _shown(v, self.host) and v.name in there)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What came of a look; `inventory` is None when the host was missed."""

    records: HostRecords
    host: HostResources
    inventory: Inventory | None

    @property
    def given_up(self) -> bool:
        """Return whether the host was missed and has been for long."""
        return self.inventory is None and self.host.health is HostHealth.DOWN


class Looker:
    """Looks at hosts and keeps each one's streak of good and missed polls."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Callable[[HostResources], HostDriver],
        listings: Listings,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._listings = listings
        self._streaks: dict[str, Streak] = {}
        self._read: dict[str, tuple[Sandbox, ...]] = {}

    async def look(self, host_id: str) -> Look:
        """Look at a host once and record it; raises `NotFound` when the host was removed."""
        records = await self._records(host_id)
        charged = records.host.unmanaged_storage_mb
        try:
            inventory = await self._drivers(records.host).inventory()
            if not records.explains(inventory):
                records = records.with_newer(await self._records(host_id))
            host = await self._seen(records, inventory, charged)
        except HostError as error:
            self._listings.lost(host_id)
            host = await self._missed(records.host, error)
            return Look(records=records, host=host, inventory=None)
        self._listings.put(inventory)
        return Look(records=records, host=host, inventory=inventory)

    def forget(self, host_id: str) -> None:
        """Drop what was kept of a host that is no more."""
        self._streaks.pop(host_id, None)
        self._read.pop(host_id, None)
        self._listings.lost(host_id)

    async def _records(self, host_id: str) -> HostRecords:
        """Read the host's records; what has not changed since the last look is not read again."""
        known = self._read.get(host_id, ())
        records = await self._store.read(lambda tx: _records(tx, host_id, known))
        self._read[host_id] = records.sandboxes
        return records

    def _judge(self, host: HostResources, *, reason: str | None) -> Verdict:
        verdict = health.after_poll(
            host,
            ok=reason is None,
            reason=reason,
            now=self._clock.now(),
            streak=self._streaks.get(host.id, Streak()),
        )
        self._streaks[host.id] = verdict.streak
        return verdict

    async def _missed(self, host: HostResources, error: SandboxdError) -> HostResources:
        verdict = self._judge(host, reason=error.message)
        now = self._clock.now()
        facts: HostFacts = {**_health_fields(verdict), **_refused(host, error)}

        def write(tx: Transaction) -> HostResources:
            _health_event(tx, host, verdict, error.code)
            return tx.hosts.observe(host.id, at=now, **facts)

        return await self._store.submit(write)

    async def _seen(
        self, records: HostRecords, inventory: Inventory, charged: int
    ) -> HostResources:
        """Write down what was seen; `charged` is what the host was charged before it was asked."""
        host = records.host
        _check_identity(host, inventory, ())
        verdict = self._judge(host, reason=None)
        now = self._clock.now()
        facts: HostFacts = {**_facts(records, inventory), **_health_fields(verdict)}
        appeared = records.appeared(inventory)

        def write(tx: Transaction) -> HostResources:
            if host.host_uuid is None:
                # Asked for by its UUID: many hosts may be seen for the first time at once.
                _check_identity(host, inventory, tx.hosts.of_machine(inventory.host_uuid or ""))
            _health_event(tx, host, verdict, "polled")
            for volume in tx.volumes.of_host(host.id) if appeared else ():
                if volume.name in appeared and _shown(volume, host):
                    tx.volumes.mark_created(volume.host_id, volume.pool, volume.name)
            current = tx.hosts.get(host.id).unmanaged_storage_mb
            if current != charged or _arriving(tx, host) != records.arriving:
                # A copy was begun or ended meanwhile: what it is charged is not ours to undo.
                facts.pop("unmanaged_storage_mb", None)
            return tx.hosts.observe(host.id, at=now, **facts)

        return await self._store.submit(write)


def _check_identity(
    host: HostResources, inventory: Inventory, others: Iterable[HostResources]
) -> None:
    fault = identity_fault(host, inventory, others)
    if fault is not None:
        raise IdentityChanged(
            fault,
            remedy="put the right machine back, or accept the new one: "
            f"sandboxctl host accept-identity {host.name}",
            details={"expected": host.host_uuid, "found": inventory.host_uuid},
        )


def _refused(host: HostResources, error: SandboxdError) -> HostFacts:
    """Return which other machine answered, for an operator to accept it."""
    found = error.details.get("found")
    if not isinstance(error, IdentityChanged) or host.host_uuid is None or found is None:
        return {}
    return {"refused_host_uuid": str(found)}


def _planned(volume: Volume, host: HostResources) -> bool:
    return volume.state is VolumeState.PLANNED and volume.pool == host.pool


_TOLD_BY_THEIR_STEP = frozenset({VolumeRole.DISK, VolumeRole.IMAGE, VolumeRole.LAYER})
"""A copy that is there may be half of one, and a layer that is there need not be written to yet."""


def _shown(volume: Volume, host: HostResources) -> bool:
    """Return whether to see a planned volume is to know that it was made."""
    return _planned(volume, host) and volume.role not in _TOLD_BY_THEIR_STEP


def _records(tx: Transaction, host_id: str, known: Iterable[Sandbox]) -> HostRecords:
    host = tx.hosts.get(host_id)
    placed, volumes = tx.sandboxes.placed_on(host_id, known), tx.volumes.of_host(host_id)
    here = {sandbox.id for sandbox in placed.sandboxes} | placed.unreadable.keys()
    holders = tx.allocations.holders(host_id)
    return HostRecords(
        host=host,
        sandboxes=placed.sandboxes,
        volumes=volumes,
        holders=holders,
        arriving=_arriving(tx, host),
        leaving=tuple(
            one for one in map(partial(_leaving, tx), sorted(holders - here)) if one is not None
        ),
        under_way={one.sandbox_id: one for one in tx.snapshots.unfinished_on(host_id)},
        unreadable=placed.unreadable,
    )


def _arriving(tx: Transaction, host: HostResources) -> tuple[Arriving, ...]:
    replicas = (
        Arriving(volume=one.volume, size_bytes=tx.images.get(one.image_id).size_bytes)
        for one in tx.replicas.of_host(host.id)
        if one.state is ReplicaState.COPYING and one.pool == host.pool
    )
    return (*replicas, *_flattening(tx, host))


def _flattening(tx: Transaction, host: HostResources) -> Iterator[Arriving]:
    """Yield the disks here that are being copied whole, to become images.

    Of a source VM for as long as the copy is listed: a host may be at one that is of no use now.
    """
    for volume in tx.volumes.planned(host.id):
        if not _planned(volume, host):
            continue
        if volume.role is VolumeRole.DISK:
            sandbox = _live(tx, volume.owner)
            if sandbox is not None:
                size = sandbox.storage_mb * _MIB
                yield Arriving(volume=volume.name, size_bytes=size)
        elif volume.role is VolumeRole.IMAGE:
            image = tx.images.get(volume.owner)
            if image.copied and image.source_volume == volume.name:
                size = image.virtual_bytes or 0
                yield Arriving(volume=volume.name, size_bytes=size)


def _live(tx: Transaction, sandbox_id: str) -> Sandbox | None:
    try:
        sandbox = tx.sandboxes.get(sandbox_id)
    except NotFound:
        return None
    return sandbox if sandbox.live else None


def _leaving(tx: Transaction, sandbox_id: str) -> Sandbox | None:
    """Return a live sandbox; what is left of one that cannot be read is charged as it is seen."""
    try:
        return _live(tx, sandbox_id)
    except Unreadable:
        return None


def _health_fields(verdict: Verdict) -> HostFacts:
    return {
        "health": verdict.health,
        "health_reason": verdict.reason,
        "health_since": verdict.since,
    }


def _health_event(tx: Transaction, host: HostResources, verdict: Verdict, code: str) -> None:
    if not verdict.changed:
        return
    reason = "" if verdict.health is HostHealth.UP else f": {verdict.reason}"
    tx.events.add(
        Event(
            at=verdict.since,
            kind="host.health",
            host_id=host.id,
            reason_code=code,
            message=f"host {host.name} is {verdict.health}{reason}",
            evidence={"from": host.health.value, "to": verdict.health.value},
        )
    )


def _facts(records: HostRecords, inventory: Inventory) -> HostFacts:
    """Return what a complete look says of a host, as the fields of its record."""
    listed = records.volume_names()
    foreign = unmanaged(inventory, records.ours(), records.claimed_names())
    pool = inventory.pool
    volumes = () if pool is None else pool.volumes
    return {
        "observed_at": inventory.seen_at,
        "last_seen_at": inventory.seen_at,
        "host_uuid": inventory.host_uuid,
        "refused_host_uuid": None,
        "libvirt_version": inventory.libvirt_version,
        "hypervisor_version": inventory.hypervisor_version,
        "arch": inventory.arch,
        "cpu_model": inventory.cpu_model,
        "proven_virt_type": inventory.virt_type,
        "total_cpus": inventory.total_cpus,
        "total_memory_mb": inventory.total_memory_mb,
        "total_storage_mb": 0 if pool is None else pool.capacity // _MIB,
        "unmanaged_cpus": foreign.vcpus,
        "unmanaged_memory_mb": foreign.memory_mb,
        "unmanaged_storage_mb": foreign.storage_mb + records.still_to_come_mb(),
        "observed_pool_active": pool is not None and pool.active,
        "observed_storage_available_mb": 0 if pool is None else pool.available // _MIB,
        "observed_networks": tuple(sorted(n for n, on in inventory.networks.items() if on)),
        "observed_images": tuple(sorted(v.name for v in volumes if v.name not in listed)),
    }
