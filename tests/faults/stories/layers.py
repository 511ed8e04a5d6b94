"""Snapshots that freeze a disk's layers: made, gone back to, deleted in any order, or gone at once.

They are told on real hosts, where the live layer is written to before each freeze: what every point
reads is known, and is read at the end. Guests that are off boot for none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from scheduler.cli.exits import Exit
from tests.faults.cluster import Cluster
from tests.faults.disks import RealHost
from tests.faults.layers import layer_faults, live_layer
from tests.faults.stories.lives import WithSandbox
from tests.faults.story import BOOTS_S, CONVERGES_S, refused
from tests.fleet.process import wait_until

BLOCKS = 5
OFF: dict[str, object] = {"auto_start": False, "storage_mb": 160}
ON: dict[str, object] = {"storage_mb": 160}
REST_S = 60.0


class WithLayers(WithSandbox):
    """There is a sandbox with points p0, p1 and so on, each of which reads something else."""

    before = "STOPPED"
    wanted: ClassVar = OFF
    calls_land_late = False  # each of their verbs asks libvirt first what is there
    points_before: ClassVar[int] = 0

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.disk = [0] * BLOCKS
        self.kept: dict[str, list[int]] = {}
        self.id = ""

    @property
    def real(self) -> RealHost:
        assert isinstance(self.place, RealHost)
        return self.place

    @property
    def path(self) -> str:
        return f"/v1/sandboxes/{self.id}/snapshots"

    def prepare(self) -> None:
        super().prepare()
        self.write()
        for number in range(self.points_before):
            body = {"name": f"p{number}", "kind": "EXTERNAL", "manifest": False}
            made = self.cluster.api.post(self.path, body, wait=30)
            assert made["state"] == "READY", made
            self.kept[made["name"]] = [*self.disk]
            self.write()

    def write(self) -> None:
        """Write to the live layer: over what each point has, and where none has anything."""
        generation = len(self.kept) + 1
        for block in (0, generation):
            self.disk[block] = generation
            if self.before == "RUNNING":
                with self.cluster.libvirt(self.real) as connection:
                    domain = connection.lookupByName("one")
                    self.real.write_running(domain, block, generation)
            else:
                self.real.write(live_layer(self.cluster, self.id), block, generation)

    def states(self) -> dict[str, str]:
        items = self.cluster.api.get(self.path)["items"]
        return {str(one["name"]): str(one["state"]) for one in items}

    def is_done(self) -> bool:
        rests = self.states() == dict.fromkeys(self.kept, "READY")
        return rests and self.state(self.id) == self.before

    def faults(self) -> Iterator[str]:
        yield from layer_faults(self.cluster, self.real)
        if self.state(self.id) == "DESTROYED":
            return
        items = self.cluster.api.get(self.path)["items"]
        read = {str(one["ref"]): self.kept[str(one["name"])] for one in items}
        read[live_layer(self.cluster, self.id)] = self.disk
        for volume, patterns in read.items():
            if not self.real.reads(volume, patterns):
                yield f"{volume} does not read {patterns}"

    def delete_point(self, name: str) -> None:
        """Have a point deleted, and wait until it is gone."""
        self.kept.pop(name, None)
        with refused(Exit.NOT_FOUND):
            self.delete(f"{self.path}/{name}")
        wait_until(lambda: name not in self.states(), what=f"the end of {name}", limit_s=REST_S)

    def revert(self, name: str) -> None:
        """Ask to be brought back to a point."""
        self.disk = [*self.kept[name]]
        self.post(f"{self.path}/{name}/revert")


class FreezeDisk(WithLayers):
    """A disk is frozen, and goes on in a layer on top of that."""

    def act(self) -> None:
        self.kept["point"] = [*self.disk]
        self.post(self.path, {"name": "point", "kind": "EXTERNAL", "manifest": False})


class PutBack(WithLayers):
    """A disk is brought back to its only point."""

    points_before = 1

    def act(self) -> None:
        self.revert("p0")


class PutFarBack(PutBack):
    """A disk is brought back to a point on which another lies, which stays."""

    points_before = 2


class PullUp(WithLayers):
    """A point goes, and the live layer takes up what it holds."""

    points_before = 1
    gone: ClassVar[tuple[str, ...]] = ("p0",)

    def act(self) -> None:
        for name in self.gone:
            self.delete_point(name)


class CommitDown(PullUp):
    """A point goes on which another lies: of two layers that are not live the lower is left."""

    points_before = 2


class DeleteStacked(PullUp):
    """Two of three points go, the middle one first: one merge of either kind."""

    points_before = 3
    gone = ("p1", "p2")


class DeleteBranch(PullUp):
    """A point goes on which two layers lie, then one of those, and all that is left becomes one."""

    points_before = 2
    gone = ("p0", "p1")

    def prepare(self) -> None:
        super().prepare()
        self.revert("p0")
        wait_until(self.is_done, what="a disk with two branches")
        self.write()


class DestroyLayers(WithLayers):
    """A sandbox goes with all its layers."""

    points_before = 2

    def act(self) -> None:
        self.delete(f"/v1/sandboxes/{self.id}")

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class FreezeRunning(FreezeDisk):
    """The disk of a guest that runs is frozen under it."""

    before = "RUNNING"
    wanted = ON


class PutBackRunning(PutBack):
    """A guest that runs is brought back, and boots from there."""

    before = "RUNNING"
    wanted = ON
    converges_s = CONVERGES_S + BOOTS_S


class PullUpRunning(PullUp):
    """A point goes under a guest that runs."""

    before = "RUNNING"
    wanted = ON


class CommitDownRunning(CommitDown):
    """A point between two goes under a guest that runs."""

    before = "RUNNING"
    wanted = ON


LAYER_STORIES: tuple[type[WithLayers], ...] = (
    FreezeDisk,
    PutBack,
    PutFarBack,
    PullUp,
    CommitDown,
    DeleteStacked,
    DeleteBranch,
    DestroyLayers,
    FreezeRunning,
    PutBackRunning,
    PullUpRunning,
    CommitDownRunning,
)
"""Snapshots that freeze layers, which only real hosts do."""
