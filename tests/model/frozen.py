"""The invariants of snapshots: what they claim, what they name, and that frozen points stay.

Guests write all the time, so that a point shows which is not frozen, or not the one meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scheduler.lifecycle import layers
from scheduler.lifecycle.snapshots import holds_something, storage_due
from scheduler.model import (
    AllocationState,
    SnapshotKind,
    SnapshotState,
    VolumeRole,
)
from tests.hosts.fake_snapshots import Blocks, read_disk
from tests.model.books import Books, Commit
from tests.model.machines import Slot

if TYPE_CHECKING:
    from scheduler.model import Sandbox, Snapshot

Rack = Mapping[str, Slot]
Complaints = Iterator[str]

_FIRM = (SnapshotState.READY, SnapshotState.REVERTING)
BLOCKS = 5


def i1_snapshots_are_claimed(commit: Commit, rack: Rack) -> Complaints:
    """A sandbox claims exactly what it may come to take with its snapshots."""
    books = commit.after
    for sandbox in books.sandboxes.values():
        claim = books.allocations.get((sandbox.id, sandbox.host_id or ""))
        if claim is None or claim.state is AllocationState.RELEASING:
            continue
        due = storage_due(sandbox, books.snapshots_of(sandbox.id), books.volumes_of(sandbox))
        if claim.storage_mb != due:
            yield f"{sandbox.id} claims {claim.storage_mb} MiB, and may take {due}"


def i2_snapshots_go_with_their_sandbox(commit: Commit, rack: Rack) -> Complaints:
    if commit.after.snapshots_in_all != len(commit.after.snapshots):
        yield f"of {commit.after.snapshots_in_all} snapshots some have no live sandbox"


def i2_frozen_points_are_listed(commit: Commit, rack: Rack) -> Complaints:
    """A point names what it is read from, layer by layer, and none that is written to."""
    books = commit.after
    for one in _external(books, *_FIRM):
        sandbox = books.sandboxes[one.sandbox_id]
        listed = layers.disks(books.volumes_of(sandbox))
        if one.files != layers.chain(books.volumes_of(sandbox), one.ref):
            yield f"{one.name} of {sandbox.id} names {one.files}, and {sorted(listed)} are listed"
        elif any(listed[name].role is not VolumeRole.LAYER for name in one.files):
            yield f"{one.name} of {sandbox.id} names a volume that is written to: {one.files}"


def i7_one_at_a_time(commit: Commit, rack: Rack) -> Complaints:
    for sandbox_id in commit.after.sandboxes:
        every = commit.after.snapshots_of(sandbox_id)
        if sum(one.unfinished for one in every) > 1:
            yield f"several snapshots of {sandbox_id} are under way"
        if sum(one.current for one in every) > 1:
            yield f"{sandbox_id} stands on several snapshots"
        if len({one.kind for one in every if holds_something(one)}) > 1:
            yield f"{sandbox_id} has snapshots of both kinds"


def i13_snapshots_are_told(commit: Commit, rack: Rack) -> Complaints:
    before, after = commit.before.snapshots, commit.after.snapshots
    told = {one.evidence.get("snapshot_id") for one in commit.events}
    for id in before.keys() | after.keys():
        old, new = before.get(id), after.get(id)
        buried = old is not None and old.sandbox_id in commit.buried
        if (old and old.state) != (new and new.state) and id not in told and not buried:
            yield f"snapshot {id} changed from {old} to {new} and no event says so"


BY_COMMIT: tuple[Callable[[Commit, Rack], Complaints], ...] = (
    i1_snapshots_are_claimed,
    i2_snapshots_go_with_their_sandbox,
    i2_frozen_points_are_listed,
    i7_one_at_a_time,
    i13_snapshots_are_told,
)


@dataclass(slots=True)
class Frozen:
    """What every point was read as when it was first seen READY."""

    points: dict[str, Blocks] = field(default_factory=dict)
    written: int = 0

    def write(self, rack: Rack) -> None:
        """Have every guest of ours that runs write something."""
        for slot in rack.values():
            for domain in slot.machine.ours():
                if domain.active and domain.disks:
                    self.written += 1
                    block, disks = self.written % BLOCKS, slot.machine.fake.disks
                    disks.write(domain.disks[0], block, str(self.written))

    def i9_frozen_points_stay(
        self, books: Books, rack: Rack, excused: Collection[str]
    ) -> Complaints:
        """Judge what would be read from every point, where people deleted none of its layers."""
        for one in books.snapshots.values():
            if one.state is not SnapshotState.READY or one.sandbox_id in excused:
                continue
            read = _read(one, books.sandboxes[one.sandbox_id], rack)
            if read is None:
                continue
            was = self.points.setdefault(one.id, read)
            if was != read:
                yield f"{one.name} of {one.sandbox_id} was {was} and is {read}"


def under_way(books: Books) -> Complaints:
    """Yield what is still to be done for snapshots."""
    for one in books.snapshots.values():
        if one.unfinished:
            yield f"snapshot {one.name} of {one.sandbox_id} is still {one.state}: {one.reason}"


def kept_in_vain(books: Books, rack: Rack) -> Complaints:
    """Yield, when all is quiet, what machines keep inside disks and no record knows."""
    for sandbox in books.sandboxes.values():
        fake = rack[sandbox.host_id or ""].machine.fake
        known = {one.ref for one in books.snapshots_of(sandbox.id)}
        if sandbox.domain_uuid in fake.domains:
            kept = fake.disks.snapshots.get(sandbox.domain_uuid, {})
            for name in sorted(kept.keys() - known):
                yield f"the domain of {sandbox.id} keeps {name}, which no record knows"


def _read(snapshot: Snapshot, sandbox: Sandbox, rack: Rack) -> Blocks | None:
    """Return what would be read from a point; None where its machine has it no more."""
    fake = rack[sandbox.host_id or ""].machine.fake
    if snapshot.kind is SnapshotKind.EXTERNAL:
        there = all(name in fake.volumes for name in snapshot.files)
        return read_disk(fake, snapshot.ref) if there else None
    kept = fake.disks.snapshots.get(sandbox.domain_uuid or "", {}).get(snapshot.ref)
    return None if kept is None else dict(kept.blocks)


def _external(books: Books, *states: SnapshotState) -> Iterator[Snapshot]:
    for one in books.snapshots.values():
        if one.kind is SnapshotKind.EXTERNAL and one.state in states:
            yield one
