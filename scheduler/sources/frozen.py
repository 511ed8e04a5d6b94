"""Which file of a source VM may be read: its disk while it is off, or what a snapshot froze.

Pure. The live disk of a machine that runs is never read: a copy of it would be torn.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.model import DomainState, ForeignMachine, SourceVM


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A volume that nobody writes to, and what to call it for people."""

    volume: str
    capacity_mb: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFrozen:
    """Why there is none, and what to do about it."""

    reason: str
    remedy: str


def frozen_disk(machine: ForeignMachine, source: SourceVM) -> Frozen | NotFrozen:
    """Return what a clone of the machine may be made of now."""
    disk = machine.disk
    title = f"{source.host_name}/{source.name}"
    if disk is None:
        return NotFrozen(
            reason=f"the first disk of {title} is no volume of its host's pool",
            remedy="move it there, or take it in as an image in another way: sandboxctl image",
        )
    more = "" if machine.disks == 1 else f", the first of {machine.disks}"
    if machine.state is DomainState.SHUT_OFF:
        return Frozen(
            volume=disk.name,
            capacity_mb=disk.capacity_mb,
            what=f"its disk while it is off{more}",
        )
    if disk.frozen is None or disk.frozen_at is None:
        return NotFrozen(
            reason=f"{title} is {machine.state}, and its live disk is never read",
            remedy="shut it down, or take a snapshot of its disk on its host: "
            "virsh snapshot-create-as DOMAIN NAME --disk-only --atomic",
        )
    if source.prepared_at is None or disk.frozen_at < source.prepared_at.timestamp():
        return NotFrozen(
            reason=f"what a snapshot of {title} froze is older than its preparation",
            remedy="take a new snapshot of its disk, or shut it down",
        )
    return Frozen(
        volume=disk.frozen,
        capacity_mb=disk.capacity_mb,
        what=f"what its newest snapshot froze{more}",
    )


def unchanged(before: ForeignMachine, after: ForeignMachine | None, frozen: Frozen) -> bool:
    """Return whether nobody can have written to the volume while it was read."""
    if after is None or before.disk is None or after.disk is None:
        return False
    if frozen.volume == before.disk.name:
        off = before.state is after.state is DomainState.SHUT_OFF
        return off and before.disk == after.disk
    return after.disk.frozen == frozen.volume
