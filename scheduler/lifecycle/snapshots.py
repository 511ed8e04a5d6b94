"""What may be asked of a sandbox's snapshots, what it costs, and the next step for one under way.

A snapshot that is under way goes before everything but the end of its sandbox: only while nothing
can be said of the domain, or it is in no state for it, the usual table is asked instead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from scheduler.errors import ConstraintImpossible
from scheduler.lifecycle import layers
from scheduler.lifecycle.expiry import endings, run_anew
from scheduler.lifecycle.rules import Case, Look, backing_off, look_of
from scheduler.lifecycle.steps import ConditionKind, Discard, Freeze, GiveUp, Revert, Step
from scheduler.model import (
    DesiredState,
    HostResources,
    Phase,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
    VirtType,
    Volume,
)

TRIES = 3
"""How often going back to a snapshot, or removing one, is tried."""
LAYERS_SINCE = (6, 0, 0)
"""The first libvirt that can freeze layers and merge them as it is done here."""
_NO_DOMAIN = "the domain is not on its host any more"

_STEADY = frozenset({Look.RUNNING, Look.SHUT_OFF, Look.CRASHED})
_AT_REST = frozenset(
    {
        (DesiredState.RUNNING, SandboxState.RUNNING),
        (DesiredState.STOPPED, SandboxState.STOPPED),
    }
)
_FAILED = frozenset(
    {
        (DesiredState.RUNNING, SandboxState.ERROR),
        (DesiredState.STOPPED, SandboxState.ERROR),
    }
)


def claim_of(sandbox: Sandbox, kind: SnapshotKind, *, memory: bool) -> int:
    """Return the MiB of storage that a snapshot may come to take beside what is claimed."""
    if kind is SnapshotKind.EXTERNAL:
        return sandbox.storage_mb
    return sandbox.storage_mb + (sandbox.memory_mb if memory else 0)


def storage_due(
    sandbox: Sandbox, snapshots: Collection[Snapshot], volumes: Collection[Volume]
) -> int:
    """Return the MiB of storage that a sandbox may come to take with all its snapshots.

    Each layer may grow to the size of the disk, whether a snapshot still names it or not; but the
    one that a revert makes is empty for as long as the one that it replaces is there.
    """
    inside = sum(one.claim_mb for one in snapshots if one.kind is SnapshotKind.INTERNAL)
    replacing = any(
        one.kind is SnapshotKind.EXTERNAL and one.state is SnapshotState.REVERTING
        for one in snapshots
    )
    frozen = max(0, len(layers.disks(volumes)) - 1 - replacing)
    return sandbox.storage_mb * (1 + frozen) + inside


def holds_something(snapshot: Snapshot) -> bool:
    """Return whether a host may have anything of a snapshot: for as long as it claims room there.

    Of one that could not be made all is taken back, of one that could not be deleted all may be
    there still: both are FAILED, and the first claims nothing any more, even while it is deleted.
    """
    return snapshot.claim_mb > 0


def check_able(host: HostResources, kind: SnapshotKind) -> None:
    """Raise `ConstraintImpossible` when this host can never make snapshots of this kind."""
    if kind is SnapshotKind.INTERNAL:
        return
    why = None
    if host.proven_virt_type is VirtType.TEST:
        why = "its hypervisor is a simulation without disks"
    elif _release(host.libvirt_version) < LAYERS_SINCE:
        why = f"its libvirt is {host.libvirt_version}"
    if why is not None:
        raise ConstraintImpossible(
            f"host {host.name} cannot make external snapshots: {why}",
            remedy="ask for an internal one, or use libvirt 6.0 and newer with QEMU there",
            details={"host_id": host.id, "libvirt_version": host.libvirt_version},
        )


def may_begin(sandbox: Sandbox, *, failed_too: bool) -> bool:
    """Return whether a sandbox rests, so that a snapshot of it can be made or changed.

    One that is to move does not: it would leave its snapshots behind.
    """
    standing = (sandbox.desired_state, sandbox.state)
    if sandbox.move_asked_at is not None:
        return False
    return standing in _AT_REST or (failed_too and standing in _FAILED)


def under_way(snapshots: Collection[Snapshot]) -> Snapshot | None:
    """Return the snapshot for which something is still to be done; there is at most one."""
    return next((one for one in snapshots if one.unfinished), None)


def next_step(case: Case, snapshot: Snapshot) -> Step | None:
    """Return the step for a snapshot under way, None when the usual table is to be asked."""
    if case.sandbox.desired_state is DesiredState.DESTROYED:
        return None
    look = look_of(case.seen)
    if look is Look.UNKNOWN:
        return None
    if snapshot.state is SnapshotState.CREATING:
        return _creating(case, snapshot, look)
    if snapshot.state is SnapshotState.REVERTING:
        return _reverting(case, snapshot, look)
    return _deleting(case, snapshot, look)


def reverted(sandbox: Sandbox, snapshot: Snapshot, now: datetime) -> Sandbox:
    """Return the record of a sandbox that was brought back: on its way up, or off as wished.

    A guest whose memory was kept runs again whatever was wished before. A lease that has ended has
    ended all the same.
    """
    runs = snapshot.memory or sandbox.desired_state is DesiredState.RUNNING
    state = SandboxState.STARTING if runs else SandboxState.STOPPED
    return replace(
        sandbox,
        state=state,
        desired_state=DesiredState.RUNNING if runs else DesiredState.STOPPED,
        phase=None,
        phase_at=None,
        attempts=0,
        retry_at=None,
        queued_at=now,
        conditions=run_anew(replace(sandbox, conditions=endings(sandbox)), now),
        ip_address=None,
        ip_source=None,
        ip_seen_at=None,
        ip_gateway=None,
        reason_code="reverted",
        reason_message=f"brought back to snapshot {snapshot.name}",
        updated_at=now,
    )


def _creating(case: Case, snapshot: Snapshot, look: Look) -> Step | None:
    if snapshot.reason is not None:
        return backing_off(case, Phase.SNAPSHOT) or Discard(snapshot_id=snapshot.id)
    why = None
    if case.sandbox.state is SandboxState.ERROR:
        why = f"the sandbox failed meanwhile: {case.sandbox.reason_message}"
    elif look is Look.SHUTTING_DOWN:
        return None
    elif look not in _STEADY:
        why = f"the domain is {_told(look)}"
    elif snapshot.memory and look is not Look.RUNNING:
        why = "the guest ended before its memory was kept"
    if why is not None:
        return GiveUp(snapshot_id=snapshot.id, message=why)
    return Freeze(snapshot_id=snapshot.id)


def _reverting(case: Case, snapshot: Snapshot, look: Look) -> Step:
    if look is Look.ABSENT and snapshot.kind is SnapshotKind.INTERNAL:
        # It is the domain that knows of it; for one of layers a domain is stated anew.
        return GiveUp(snapshot_id=snapshot.id, message=_NO_DOMAIN)
    return _tried(case, Phase.REVERT, snapshot) or Revert(snapshot_id=snapshot.id)


def _deleting(case: Case, snapshot: Snapshot, look: Look) -> Step | None:
    if case.sandbox.state is SandboxState.RUNNING and look in (Look.SHUT_OFF, Look.CRASHED):
        return None  # its end is recorded first: what is off is started for a merge, and rests then
    # Paused at its beginning by a merge of ours, or for want of room.
    ours = look is Look.PAUSED and case.sandbox.phase is Phase.SNAPSHOT
    paused = ours or look is Look.STORAGE_FULL
    if look in _STEADY or paused:
        return _tried(case, Phase.SNAPSHOT, snapshot) or Discard(snapshot_id=snapshot.id)
    if look is Look.ABSENT and case.sandbox.state is not SandboxState.RUNNING:
        return GiveUp(snapshot_id=snapshot.id, message=_NO_DOMAIN)
    return None


def _tried(case: Case, phase: Phase, snapshot: Snapshot) -> Step | None:
    """Give up after so many failed tries of a phase; before that, wait out the pause after one."""
    sandbox = case.sandbox
    if sandbox.phase is phase and sandbox.attempts >= TRIES:
        # Giving up asks the host once more, which may refuse that too: then it is no hurry.
        if sandbox.attempts > TRIES and (wait := backing_off(case, phase)) is not None:
            return wait
        failing = [c.message for c in sandbox.conditions if c.kind == ConditionKind.FAILING]
        return GiveUp(snapshot_id=snapshot.id, message=failing[-1] if failing else "it failed")
    return backing_off(case, phase)


def _told(look: Look) -> str:
    return look.name.lower().replace("_", " ")


def _release(version: str | None) -> tuple[int, ...]:
    parts = (version or "").split(".")
    return tuple(int(part) for part in parts) if all(p.isdigit() for p in parts) else ()
