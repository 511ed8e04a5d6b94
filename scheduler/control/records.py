"""What converging writes down: phases before host calls, states after their proof.

Every write compares and sets; a loser gets `Conflict` and judges again from what is true by then.
Times are those that leases are counted in, read in the transaction that writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial, wraps

from scheduler.clock import Clock
from scheduler.errors import SandboxdError
from scheduler.lifecycle import outcomes
from scheduler.lifecycle.alternates import COMING_UP
from scheduler.lifecycle.consoles import boot_of
from scheduler.lifecycle.snapshots import under_way
from scheduler.lifecycle.steps import Become, Clear, ConditionKind, Note
from scheduler.model import (
    AddressReport,
    Allocation,
    HostResources,
    IpSource,
    Phase,
    Sandbox,
    SandboxState,
    Snapshot,
    Volume,
)
from scheduler.service.lease_time import lease_time
from scheduler.service.sandbox_records import put
from scheduler.store import Store, Transaction

PROVEN = frozenset({SandboxState.RUNNING, SandboxState.STOPPED})
"""States in which the host is known to hold what was claimed."""

LONGEST_IMAGE_PAUSE_SECONDS = 1800
"""Whole disks are not read again every minute for an image that is refused."""

Released = Callable[[Sandbox, tuple[Allocation, ...]], None]
"""Told of a sandbox that was buried, or left a host, and of the allocations this released."""

Changed = Callable[[Sandbox, Sandbox], None]
"""Told of a sandbox as it was and as it is after its public state was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A sandbox and its host as they are recorded, and when that was read."""

    sandbox: Sandbox
    host: HostResources
    allocations: tuple[Allocation, ...]
    now: datetime
    snapshot: Snapshot | None = None
    """The one of its snapshots for which something is still to be done."""

    @property
    def left_elsewhere(self) -> bool:
        """Return whether another host may still hold something of the sandbox."""
        return any(one.host_id != self.host.id for one in self.allocations)


class Records:
    """The converger's side of the store."""

    def __init__(self, store: Store, clock: Clock, *, changed: Changed, released: Released) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._released = released

    async def standing(self, sandbox_id: str) -> Standing:
        """Read a sandbox with the host it was placed on; raises `NotFound`."""

        def read(tx: Transaction) -> Standing:
            sandbox = tx.sandboxes.get(sandbox_id)
            return Standing(
                sandbox=sandbox,
                host=tx.hosts.get(sandbox.host_id or ""),
                allocations=tx.allocations.of_sandbox(sandbox_id),
                now=lease_time(tx, self._clock),
                snapshot=under_way(tx.snapshots.of_sandbox(sandbox_id)),
            )

        return await self._store.read(read)

    async def again(self, sandbox: Sandbox) -> Sandbox:
        """Read a sandbox as it is by now."""
        return await self._store.read(lambda tx: tx.sandboxes.get(sandbox.id))

    async def volumes(self, sandbox: Sandbox) -> tuple[Volume, ...]:
        """Read the volumes listed for a sandbox on its host: all that is deleted there."""
        return await self._store.read(lambda tx: _listed(tx, sandbox))

    async def user_data(self, sandbox: Sandbox) -> str | None:
        """Read what the sandbox's owner wants its guest to read at its first boot."""
        if sandbox.user_data_bytes is None:
            return None
        return await self._store.read(lambda tx: tx.user_data.get(sandbox.id))

    async def anti_affinity_group(self, sandbox: Sandbox) -> str | None:
        """Read the group of which the sandbox is the only one on its host."""
        held = await self._store.read(lambda tx: tx.allocations.of_sandbox(sandbox.id))
        return next((a.anti_affinity_group for a in held if a.host_id == sandbox.host_id), None)

    async def begin(
        self,
        sandbox: Sandbox,
        phase: Phase,
        *,
        volumes: tuple[Volume, ...] = (),
        ssh_ca: str | None = None,
    ) -> Sandbox:
        """Commit the intent for a phase of host work, once; what is planned is listed with it.

        `ssh_ca` is the authority that a seed is to name, unless one did already.
        """
        if sandbox.phase is phase:
            return sandbox

        def write(tx: Transaction) -> Sandbox:
            listed = {volume.name for volume in _listed(tx, sandbox)}
            for volume in volumes:
                if volume.name not in listed:
                    tx.volumes.add(volume)
            begun = outcomes.begun(sandbox, phase, now=self._now(tx))
            return put(tx, sandbox, replace(begun, ssh_ca=sandbox.ssh_ca or ssh_ca))

        return await self._store.submit(write)

    async def base_seen(self, sandbox: Sandbox, fingerprint: str) -> Sandbox:
        """Remember what the base looked like before anything was built on it."""
        return await self._write(
            sandbox, lambda now: replace(sandbox, base_fingerprint=fingerprint, updated_at=now)
        )

    async def built(self, sandbox: Sandbox, created: Collection[str]) -> Sandbox:
        """Record that the domain exists, and which of its planned volumes do."""

        def write(tx: Transaction) -> Sandbox:
            for volume in _listed(tx, sandbox):
                key = (volume.host_id, volume.pool, volume.name)
                if volume.name in created:
                    tx.volumes.mark_created(*key)
                else:
                    tx.volumes.remove(*key)
            return put(tx, sandbox, outcomes.done(sandbox, now=self._now(tx)))

        return await self._store.submit(write)

    async def called(self, sandbox: Sandbox) -> Sandbox:
        """Record that the host took the call of the present phase; its proof is yet to come."""
        return await self._write(sandbox, lambda now: outcomes.done(sandbox, now=now))

    async def refused(self, sandbox_id: str, error: SandboxdError) -> Sandbox:
        """Record that the host refused the work of the present phase, and when to try again."""

        def write(tx: Transaction) -> Sandbox:
            sandbox = tx.sandboxes.get(sandbox_id)
            longest = LONGEST_IMAGE_PAUSE_SECONDS if sandbox.phase is Phase.IMAGE else 60
            failed = outcomes.failed(sandbox, error.message, now=self._now(tx), longest=longest)
            return put(tx, sandbox, failed)

        return await self._store.submit(write)

    async def address_found(self, sandbox: Sandbox, report: AddressReport) -> Sandbox:
        """Record a guest's address and who named it."""

        def found(now: datetime) -> Sandbox:
            return replace(
                sandbox,
                ip_address=report.address,
                ip_source=report.source,
                ip_seen_at=now,
                ip_gateway=report.gateway,
                updated_at=now,
            )

        return await self._write(sandbox, found)

    async def holder_of_address(self, sandbox: Sandbox, report: AddressReport) -> Sandbox | None:
        """Read which other guest of the network has an address that this one claims to have.

        A lease is the host's own word, given to one MAC; agent and ARP say what a guest makes up.
        """
        if report.address is None or report.source is IpSource.LEASE:
            return None
        claimed = (sandbox.host_id or "", sandbox.network, report.address)
        have = await self._store.read(lambda tx: tx.sandboxes.of_address(*claimed))
        return next((other for other in have if other.id != sandbox.id), None)

    async def ssh_seen(self, sandbox: Sandbox) -> Sandbox:
        """Record that the guest let the daemon in."""
        return await self._write(
            sandbox, lambda now: replace(sandbox, ssh_seen_at=now, updated_at=now)
        )

    async def become(self, sandbox: Sandbox, step: Become) -> Sandbox:
        """Write the public state a step names, with its event, its lease and its allocation."""

        def write(tx: Transaction) -> Sandbox:
            told = _with_console(tx, sandbox, step)
            wanted = outcomes.become(sandbox, told, now=self._now(tx))
            changed = put(tx, sandbox, wanted)
            if wanted.state in PROVEN:
                tx.allocations.activate(sandbox.id, sandbox.host_id or "")
            return changed

        changed = await self._store.submit(write)
        self._changed(sandbox, changed)
        return changed

    async def note(self, sandbox: Sandbox, step: Note) -> Sandbox:
        """Add a condition."""
        return await self._write(sandbox, lambda now: outcomes.noted(sandbox, step, now=now))

    async def clear(self, sandbox: Sandbox, step: Clear) -> Sandbox:
        """Remove conditions that hold no longer."""
        return await self._write(sandbox, lambda now: outcomes.cleared(sandbox, step, now=now))

    async def bury(self, sandbox: Sandbox) -> None:
        """Record that nothing is left of a sandbox, and release what it had claimed.

        While another host, which it left, may still hold something of it, only that is noted.
        """
        buried, freed = await self._store.submit(partial(self._bury, sandbox))
        if not buried.live:
            self._changed(sandbox, buried)
            self._released(buried, freed)

    def _bury(self, sandbox: Sandbox, tx: Transaction) -> tuple[Sandbox, tuple[Allocation, ...]]:
        current = tx.sandboxes.get(sandbox.id)
        left = _left_elsewhere(tx, current)
        if left is not None:
            return put(tx, current, outcomes.noted(current, left, now=self._now(tx))), ()
        for volume in tx.volumes.of_owner(sandbox.id):
            tx.volumes.remove(volume.host_id, volume.pool, volume.name)
        for snapshot in tx.snapshots.of_sandbox(sandbox.id):
            tx.snapshots.remove(snapshot.id)
        freed = tx.allocations.of_sandbox(sandbox.id)
        for allocation in freed:
            tx.allocations.release(sandbox.id, allocation.host_id)
        buried = tx.sandboxes.bury(
            sandbox.id,
            at=self._now(tx),
            reason_code=current.reason_code or "destroyed",
            reason_message=current.reason_message or "nothing is left on its host",
        )
        return buried, freed

    async def _write(self, before: Sandbox, after: Callable[[datetime], Sandbox]) -> Sandbox:
        @wraps(after)
        def write(tx: Transaction) -> Sandbox:
            return put(tx, before, after(self._now(tx)))

        return await self._store.submit(write)

    def _now(self, tx: Transaction) -> datetime:
        return lease_time(tx, self._clock)


def untouched(sandbox: Sandbox) -> bool:
    """Return whether no host call was ever committed where the sandbox is, hence none was made."""
    return sandbox.state is SandboxState.CREATED and sandbox.phase is None


def _listed(tx: Transaction, sandbox: Sandbox) -> tuple[Volume, ...]:
    """Return what is listed for a sandbox on its host, which is not all that it ever had."""
    volumes = tx.volumes.of_owner(sandbox.id)
    return tuple(volume for volume in volumes if volume.host_id == sandbox.host_id)


def _with_console(tx: Transaction, sandbox: Sandbox, step: Become) -> Become:
    """Say with a boot that has failed how to read what its guest printed, if that is kept."""
    failed = step.state is SandboxState.ERROR and sandbox.state in COMING_UP
    if not failed or not tx.consoles.has_text(sandbox.id, boot_of(sandbox)):
        return step
    how = f"; what its guest printed: sandboxctl console {sandbox.sandbox_name}"
    return replace(step, reason_message=f"{step.reason_message}{how}")


def _left_elsewhere(tx: Transaction, sandbox: Sandbox) -> Note | None:
    held = tx.allocations.of_sandbox(sandbox.id)
    hosts = [one.host_id for one in held if one.host_id != sandbox.host_id]
    if not hosts:
        return None
    names = ", ".join(tx.hosts.get(host_id).name for host_id in hosts)
    return Note(
        kind=ConditionKind.LEAVING,
        message=f"{names} {'failed to build it and ' if sandbox.moved_at is None else ''}may still "
        "hold something of it; that is removed first",
    )
