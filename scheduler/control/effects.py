"""What a step does on a host: commit the intent, act, prove.

Each effect is idempotent: it asks what is there before it acts, so that a repeated or cut-short
call ends in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from scheduler.clock import Clock
from scheduler.control.records import Records
from scheduler.control.replicas import FAILURES_UNTIL_BUILDS_GIVE_UP, ReplicaRecords
from scheduler.errors import GuestUnreachable, GuestUntrusted, HostRefused
from scheduler.guests.connections import GuestConnections
from scheduler.guests.seed import GuestAccess, seed_iso
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.plans import BaseImage, DomainPlan
from scheduler.lifecycle import layers
from scheduler.lifecycle.mark_documents import mark_document
from scheduler.lifecycle.steps import ConditionKind, Note
from scheduler.model import (
    HostResources,
    Phase,
    ReplicaState,
    Sandbox,
    VirtType,
    Volume,
    VolumeRole,
)
from scheduler.model.images import replica_volume
from scheduler.service.images import replica_key


def overlay_name(sandbox_id: str) -> str:
    """Return the name of a sandbox's first layer; its live one is another once it has snapshots."""
    return f"{sandbox_id.lower()}.qcow2"


def seed_name(sandbox_id: str) -> str:
    """Return the name of the volume a sandbox's first boot reads its configuration from."""
    return f"{sandbox_id.lower()}-seed.iso"


class Effects:
    """Carries out one step of one sandbox on its host."""

    def __init__(
        self,
        records: Records,
        replicas: ReplicaRecords,
        clock: Clock,
        *,
        guests: GuestConnections,
        starting: Callable[[str], None] = lambda _host_id: None,
    ) -> None:
        """Make it; `starting` is told of each host on which a guest is about to be started."""
        self._records = records
        self._starting = starting
        self._guests = guests
        self._replicas = replicas
        self._clock = clock

    async def awaited_replica(self, sandbox: Sandbox, host: HostResources) -> str | None:
        """Return the key of the replica that a build has to wait for, wished for if need be.

        None when there is nothing to wait for: it is there, or its copying failed too often.
        """
        if sandbox.image_digest is None:
            return None
        replica = await self._replicas.wanted_for(sandbox, host)
        if replica is None or replica.state is ReplicaState.READY:
            return None
        given_up = replica.attempts >= FAILURES_UNTIL_BUILDS_GIVE_UP
        return None if given_up else replica_key(replica)

    async def build(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """Make overlay, seed and domain, as far as they are missing."""
        seed = seed_name(sandbox.id)
        planned = await self._planned(sandbox, host)
        sandbox = await self._records.begin(
            sandbox, Phase.BUILD, volumes=planned, ssh_ca=self._guests.authority
        )
        await self._listed(sandbox, host)
        await driver.ensure_pool()
        await self._check_replica(sandbox, host)
        base = await self._base(sandbox, driver)
        if sandbox.base_fingerprint is None:
            sandbox = await self._records.base_seen(sandbox, base.fingerprint)
        await self._make_disk(sandbox, base, driver)
        keys, access = sandbox.ssh_public_keys, self._access_of(sandbox)
        user_data = await self._records.user_data(sandbox)
        iso = seed_iso(
            sandbox.id,
            sandbox.sandbox_name,
            keys,
            access,
            user_data=user_data,
            remove_secrets=sandbox.remove_secrets,
        )
        seeded = await driver.create_seed(seed, iso)
        listed = await self._records.volumes(sandbox)
        plan = await self.plan(sandbox, host, listed)
        await driver.define(plan if seeded else replace(plan, seed=None))
        await self._records.built(sandbox, {v.name for v in listed} - (set() if seeded else {seed}))

    def _access_of(self, sandbox: Sandbox) -> GuestAccess | None:
        """Return what the seed says of SSH; a disk that was moved has been told already.

        So one whose authority was retired moves all the same, and is logged in to by nobody still.
        """
        try:
            return self._guests.access_of(sandbox)
        except GuestUnreachable:
            if sandbox.moved_at is None:
                raise
            return None

    async def plan(
        self, sandbox: Sandbox, host: HostResources, volumes: Sequence[Volume]
    ) -> DomainPlan:
        """Return the domain over these volumes of one host, its mark listing them all."""
        overlay, *below = layers.chain(volumes, _live_name(sandbox, volumes))
        group = await self._records.anti_affinity_group(sandbox)
        return DomainPlan(
            uuid=_uuid(sandbox),
            name=sandbox.sandbox_name,
            vcpus=sandbox.vcpus,
            memory_mb=sandbox.memory_mb,
            mac=sandbox.mac or "",
            network=sandbox.network,
            isolated=sandbox.isolation,
            virt_type=host.proven_virt_type or VirtType.QEMU,
            pool=host.pool,
            overlay=overlay,
            layers=tuple(below),
            seed=next((one.name for one in volumes if one.role is VolumeRole.SEED), None),
            mark_document=mark_document(sandbox, volumes, anti_affinity_group=group),
        )

    async def start(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """Start the domain, unless its base was changed since it was built."""
        sandbox = await self._records.begin(sandbox, Phase.START)
        await driver.ensure_pool()
        await self._base(sandbox, driver)
        self._starting(host.id)
        await driver.start(_uuid(sandbox))
        await self._records.called(sandbox)

    async def shut_down(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """Ask the guest to shut down."""
        sandbox = await self._records.begin(sandbox, Phase.STOP)
        await driver.shutdown(_uuid(sandbox))
        await self._records.called(sandbox)

    async def power_off(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """End the domain's process; the domain stays defined."""
        sandbox = await self._records.begin(sandbox, Phase.STOP)
        await driver.power_off(_uuid(sandbox))

    async def resume(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """Let the guest go on that its host paused after a failed write."""
        sandbox = await self._records.begin(sandbox, Phase.RESUME)
        await driver.resume(_uuid(sandbox))
        await self._records.called(sandbox)

    async def tear_down(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> None:
        """Remove domain and listed volumes, prove that nothing is left, then bury (I3, I6)."""
        sandbox = await self._records.begin(sandbox, Phase.DESTROY)
        names, uuid = await self._listed(sandbox, host), _uuid(sandbox)
        if await driver.domain(uuid) is not None:
            await driver.power_off(uuid)
            await driver.undefine(uuid)
        if names:
            await driver.ensure_pool()
        for name in names:
            await driver.delete_volume(name)
        if await driver.domain(uuid) is not None or not await driver.volumes_absent(names):
            raise HostRefused(
                f"host {host.name} still holds something of {sandbox.id} after its removal",
                remedy="it is tried again; see the host's libvirt log if this stays",
            )
        await self._records.bury(sandbox)

    async def seek_address(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> bool:
        """Ask lease, agent and ARP for the guest's address; return whether one was recorded."""
        report = await driver.addresses(_uuid(sandbox), sandbox.mac or "", sandbox.network)
        holder = await self._records.holder_of_address(sandbox, report)
        if report.address is not None and holder is None:
            await self._records.address_found(sandbox, report)
            return True
        if holder is not None:
            claimed = f"{report.address}, which {holder.id} has"
            await self._tell_address(sandbox, claimed, is_held=True)
        elif report.refused:
            outside = ", ".join(report.refused)
            made_up = f"{outside}, outside network {sandbox.network}"
            await self._tell_address(sandbox, made_up, is_held=False)
        return False

    async def _tell_address(self, sandbox: Sandbox, named: str, *, is_held: bool) -> None:
        """Note an address that is not used: the first one made up, and each that others have."""
        kind, message = ConditionKind.ADDRESS_REFUSED, f"the guest names {named}: not used"
        said = next((c.message for c in sandbox.conditions if c.kind == kind), None)
        if said is None or (is_held and said != message):
            await self._records.note(sandbox, Note(kind=kind, message=message))

    async def try_ssh(self, sandbox: Sandbox, host: HostResources) -> bool:
        """Log in to the guest; return whether that was recorded, and tell why not where not."""
        try:
            async with self._guests.connected(sandbox, host):
                pass
        except GuestUnreachable as error:
            await self._tell_silence(sandbox, error)
            return False
        await self._records.ssh_seen(sandbox)
        return True

    async def _tell_silence(self, sandbox: Sandbox, error: GuestUnreachable) -> None:
        """Note how SSH failed: the first time, and when somebody else answers."""
        kind = ConditionKind.SSH_SILENT
        said = next((c.message for c in sandbox.conditions if c.kind == kind), None)
        if said is None or (isinstance(error, GuestUntrusted) and said != error.message):
            await self._records.note(sandbox, Note(kind=kind, message=error.message))

    async def _listed(self, sandbox: Sandbox, host: HostResources) -> list[str]:
        """Return the names of the sandbox's volumes; refuses when they are not in this pool.

        A host's pool may be edited, and looking for old volumes in a new pool would prove absent
        what is still there.
        """
        volumes = await self._records.volumes(sandbox)
        elsewhere = sorted({volume.pool for volume in volumes} - {host.pool})
        if elsewhere:
            raise HostRefused(
                f"the volumes of {sandbox.id} are in pool {elsewhere[0]} of host {host.name}, "
                f"whose pool is {host.pool} now",
                remedy=f"set the host's pool back to {elsewhere[0]} until its sandboxes are gone",
            )
        return [volume.name for volume in volumes]

    async def _base(self, sandbox: Sandbox, driver: HostDriver) -> BaseImage:
        digest = sandbox.image_digest
        volume = sandbox.base_image if digest is None else replica_volume(digest)
        base = await driver.inspect_base(volume)
        recorded = sandbox.base_fingerprint
        if recorded is not None and recorded != base.fingerprint:
            raise HostRefused(
                f"base volume {sandbox.base_image} was changed since {sandbox.id} was built on it",
                remedy="restore the volume as it was, or destroy this sandbox: its disk is an "
                "overlay of the old content",
            )
        return base

    async def _check_replica(self, sandbox: Sandbox, host: HostResources) -> None:
        """Refuse to begin on a replica that was not proven; what it looked like is kept."""
        if sandbox.image_digest is None or sandbox.base_fingerprint is not None:
            return
        replica = await self._replicas.wanted_for(sandbox, host)
        if replica is None:
            raise HostRefused(
                f"image {sandbox.base_image} is no more",
                remedy="take it in again: sandboxctl image upload",
            )
        if replica.pool != host.pool:
            raise HostRefused(
                f"image {sandbox.base_image} is in pool {replica.pool} of {host.name}, whose pool "
                f"is {host.pool} now",
                remedy=f"set the host's pool back to {replica.pool}, or evict the image first",
            )
        if replica.state is not ReplicaState.READY:
            raise HostRefused(
                f"image {sandbox.base_image} could not be brought to {host.name}: {replica.reason}",
                remedy="it is tried again; how it stands: sandboxctl image show "
                f"{sandbox.base_image}",
            )

    async def _make_disk(self, sandbox: Sandbox, base: BaseImage, driver: HostDriver) -> None:
        """Make the overlay; layers that snapshots have frozen can only be there still."""
        volumes = await self._records.volumes(sandbox)
        names = layers.chain(volumes, _live_name(sandbox, volumes))
        if len(names) == 1:
            await driver.create_overlay(names[0], base, sandbox.storage_mb)
            return
        for name in names:
            if await driver.volume(name) is None:
                raise HostRefused(
                    f"the layer {name} of {sandbox.id} is not on its host any more",
                    remedy="bring the file back, or delete the sandbox",
                )

    async def _planned(self, sandbox: Sandbox, host: HostResources) -> tuple[Volume, ...]:
        listed = await self._records.volumes(sandbox)
        roles = {
            _live_name(sandbox, listed): VolumeRole.OVERLAY,
            seed_name(sandbox.id): VolumeRole.SEED,
        }
        return tuple(
            Volume(
                owner=sandbox.id,
                host_id=host.id,
                pool=host.pool,
                name=name,
                role=role,
                created_at=self._clock.now(),
            )
            for name, role in roles.items()
        )


def _live_name(sandbox: Sandbox, volumes: Sequence[Volume]) -> str:
    live = layers.live(volumes)
    return overlay_name(sandbox.id) if live is None else live.name


def _uuid(sandbox: Sandbox) -> str:
    if sandbox.domain_uuid is None:
        raise ValueError(f"{sandbox.id} has no domain UUID")
    return sandbox.domain_uuid
