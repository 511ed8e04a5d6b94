"""Layers: whatever is deleted in whatever order, every other point reads as it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle import layers
from scheduler.lifecycle.layers import Merge, Remove
from scheduler.model import Snapshot, SnapshotKind, Volume, VolumeRole, VolumeState
from tests.lifecycle.samples import NOW

Blocks = dict[int, str]


class Disk:
    """A disk's layers with what was written to each, as a host would keep them."""

    def __init__(self) -> None:
        first = volume("base", VolumeRole.OVERLAY, None)
        self.volumes: dict[str, Volume] = {first.name: first}
        self.blocks: dict[str, Blocks] = {"base": {}}
        self.snapshots: dict[str, Snapshot] = {}
        self._writes = 0

    @property
    def live(self) -> str:
        found = layers.live(self.volumes.values())
        assert found is not None
        return found.name

    def write(self, block: int) -> None:
        self._writes += 1
        self.blocks[self.live][block] = str(self._writes)

    def read(self, name: str) -> Blocks:
        found: Blocks = {}
        for one in reversed(layers.chain(self.volumes.values(), name)):
            found |= self.blocks[one]
        return found

    def freeze(self, name: str) -> None:
        frozen = self.live
        self._put(frozen)
        self.snapshots[name] = Snapshot(
            id=name,
            sandbox_id="SBX-1",
            name=name,
            kind=SnapshotKind.EXTERNAL,
            ref=frozen,
            created_at=NOW,
        )

    def revert(self, name: str) -> None:
        self._put(self.snapshots[name].ref)
        self.tidy(merge=False)

    def delete(self, name: str) -> None:
        del self.snapshots[name]
        self.tidy()

    def tidy(self, *, merge: bool = True) -> None:
        for _ in range(100):
            known = self.volumes.values(), self.snapshots.values()
            action = layers.next_action(*known, merge=merge)
            if action is None:
                return
            if isinstance(action, Remove):
                assert action.name != self.live
                del self.volumes[action.name], self.blocks[action.name]
            else:
                self._merge(action)
        raise AssertionError("it never ends")

    def _put(self, on: str) -> None:
        name = layers.new_name("SBX-1", self.volumes.values())
        self.volumes[name] = volume(name, VolumeRole.LAYER, on)
        planned = layers.planned(self.volumes.values(), on=on)
        assert planned is not None
        assert planned.name == name
        for one in layers.put_live(self.volumes.values(), name):
            self.volumes[one.name] = one
        self.blocks[name] = {}

    def _merge(self, action: Merge) -> None:
        both = self.blocks[action.lower] | self.blocks[action.upper]
        self.blocks[action.upper if action.pulls else action.lower] = both
        for snapshot in layers.renamed(self.snapshots.values(), action):
            self.snapshots[snapshot.name] = snapshot
        for one in layers.merged(self.volumes.values(), action):
            self.volumes[one.name] = one

    def points(self) -> dict[str, Blocks]:
        return {one.name: self.read(one.ref) for one in self.snapshots.values()}


def volume(name: str, role: VolumeRole, backing: str | None) -> Volume:
    return Volume(
        owner="SBX-1",
        host_id="HST-1",
        pool="default",
        name=name,
        role=role,
        state=VolumeState.CREATED if role is VolumeRole.OVERLAY else VolumeState.PLANNED,
        created_at=NOW,
        backing=backing,
    )


def five_deep() -> Disk:
    disk = Disk()
    for number in range(5):
        disk.write(number)
        disk.write(9)
        disk.freeze(f"s{number}")
    disk.write(9)
    return disk


def test_five_deep_deleted_in_every_order() -> None:
    for order in permutations(range(5)):
        disk = five_deep()
        points, guest = disk.points(), disk.read(disk.live)
        for number in order:
            disk.delete(f"s{number}")
            del points[f"s{number}"]
            assert disk.points() == points, order
            assert disk.read(disk.live) == guest, order
            assert len(disk.volumes) == len(points) + 1, order
        assert disk.volumes[disk.live].backing is None


acts = st.lists(
    st.tuples(st.sampled_from(["freeze", "revert", "delete", "write"]), st.integers(0, 7)),
    max_size=40,
)


@given(acts)
def test_no_branch_harms_another(wanted: Sequence[tuple[str, int]]) -> None:
    disk = Disk()
    for act, number in wanted:
        points, guest = disk.points(), disk.read(disk.live)
        name = f"s{number}"
        if act == "write":
            disk.write(number)
            guest = disk.read(disk.live)
        elif act == "freeze" and name not in points:
            disk.freeze(name)
            points[name] = guest
        elif act == "revert" and name in points:
            disk.revert(name)
            guest = points[name]
        elif act == "delete" and name in points:
            disk.delete(name)
            del points[name]
        assert disk.points() == points
        assert disk.read(disk.live) == guest
    for name in [*disk.snapshots]:
        disk.delete(name)
    assert list(disk.volumes) == [disk.live]


def test_what_is_being_made_is_no_garbage_before_it_is_live() -> None:
    seed = replace(volume("seed", VolumeRole.SEED, None), state=VolumeState.CREATED)
    assert layers.next_action([seed], []) is None
    assert layers.live([seed]) is None
    assert layers.planned([seed], on="golden") is None
    assert layers.chain([], "gone") == ("gone",)


def test_a_circle_in_the_records_has_an_end() -> None:
    one = volume("a", VolumeRole.LAYER, "b")
    two = volume("b", VolumeRole.LAYER, "a")
    assert layers.chain([one, two], "a") == ("a", "b")
