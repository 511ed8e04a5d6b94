"""Which layers a sandbox's disk consists of, and which of them can go without harm to any other.

Layers form a tree on the golden image: each snapshot's frozen point is one of them, and the live
one takes the guest's writes. What no snapshot names, and what at most one other lies on, is removed
or made one with its neighbour; what several lie on stays until that is so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from scheduler.model import Snapshot, SnapshotKind, Volume, VolumeRole, VolumeState

_DISKS = frozenset({VolumeRole.OVERLAY, VolumeRole.LAYER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete a layer that nothing is read from."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Make two layers one; see the driver for which is left."""

    lower: str
    upper: str
    pulls: bool
    """`upper` is live and is left; else `lower` is, and takes its place."""


Action = Remove | Merge


def disks(volumes: Collection[Volume]) -> Mapping[str, Volume]:
    """Return the volumes of which a disk can consist, by name."""
    return {volume.name: volume for volume in volumes if volume.role in _DISKS}


def live(volumes: Collection[Volume]) -> Volume | None:
    """Return the volume that takes the guest's writes; None before anything is listed."""
    return next((one for one in volumes if one.role is VolumeRole.OVERLAY), None)


def chain(volumes: Collection[Volume], name: str) -> tuple[str, ...]:
    """Return the volumes of ours that a volume is read from, itself first."""
    known, found = disks(volumes), [name]
    while (below := known[found[-1]].backing if found[-1] in known else None) is not None:
        if below in found:
            break
        found.append(below)
    return tuple(found)


def planned(volumes: Collection[Volume], *, on: str) -> Volume | None:
    """Return the layer on this one that is about to take the guest's writes.

    One that lies on another may be left of a revert that failed, and is nobody's to write to.
    """
    return next(
        (
            one
            for one in volumes
            if (one.role, one.state) == (VolumeRole.LAYER, VolumeState.PLANNED)
            and one.backing == on
        ),
        None,
    )


def new_name(sandbox_id: str, volumes: Collection[Volume]) -> str:
    """Return a name for one more layer that nothing listed has."""
    taken, number = {volume.name for volume in volumes}, 1
    while (name := f"{sandbox_id.lower()}-l{number}.qcow2") in taken:
        number += 1
    return name


def put_live(volumes: Collection[Volume], name: str) -> tuple[Volume, ...]:
    """Return the volumes that change when this layer takes the guest's writes."""
    changed = []
    for volume in volumes:
        if volume.name == name:
            changed.append(replace(volume, role=VolumeRole.OVERLAY, state=VolumeState.CREATED))
        elif volume.role is VolumeRole.OVERLAY:
            changed.append(replace(volume, role=VolumeRole.LAYER))
    return tuple(changed)


def next_action(
    volumes: Collection[Volume], snapshots: Collection[Snapshot], *, merge: bool = True
) -> Action | None:
    """Return what to do next so that nothing is kept that no snapshot needs; None when all is so.

    `snapshots` are those that are to stay; without `merge` only what is out of use goes.
    """
    top = live(volumes)
    if top is None:
        return None
    named = {one.ref for one in snapshots if one.kind is SnapshotKind.EXTERNAL}
    above = _above(volumes)
    for name in sorted(disks(volumes)):
        if name != top.name and name not in named and not above.get(name):
            return Remove(name=name)
    return next(_merges(chain(volumes, top.name), named, above), None) if merge else None


def merged(volumes: Collection[Volume], action: Merge) -> tuple[Volume, ...]:
    """Return the volumes that change when two layers have become one, the other out of use."""
    known = disks(volumes)
    if action.pulls:
        return (replace(known[action.upper], backing=known[action.lower].backing),)
    return tuple(
        replace(volume, backing=action.lower)
        for volume in known.values()
        if volume.backing == action.upper
    )


def renamed(snapshots: Collection[Snapshot], action: Merge) -> tuple[Snapshot, ...]:
    """Return the snapshots whose frozen point is another volume after a merge."""
    if action.pulls:
        return ()
    return tuple(replace(one, ref=action.lower) for one in snapshots if one.ref == action.upper)


def _above(volumes: Collection[Volume]) -> Mapping[str, Sequence[str]]:
    """Return what lies directly on each volume."""
    found: dict[str, list[str]] = {}
    for volume in disks(volumes).values():
        if volume.backing is not None:
            found.setdefault(volume.backing, []).append(volume.name)
    return found


def _merges(
    layers: Sequence[str], named: Collection[str], above: Mapping[str, Sequence[str]]
) -> Iterator[Merge]:
    """Yield the merges that are possible along the live chain, the topmost first."""
    for upper, lower in pairwise(layers):
        if lower in named or len(above[lower]) != 1:
            continue
        if upper == layers[0]:
            yield Merge(lower=lower, upper=upper, pulls=True)
        elif len(above[upper]) == 1:
            yield Merge(lower=lower, upper=upper, pulls=False)
