"""Snapshots that a host keeps inside its domains: made, gone back to, deleted, refused.

The farm's hosts freeze no disks, so layers are told of on real ones: `layers`.
"""

from __future__ import annotations

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.cluster import Document
from tests.faults.stories.lives import WithSandbox
from tests.fleet.process import wait_until


class MakeSnapshot(WithSandbox):
    """A snapshot is made of a guest that runs."""

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/snapshots", {"name": "point"})

    def is_done(self) -> bool:
        return self.point()["state"] == "READY" and self.kept() == 1

    def point(self) -> Document:
        found: Document = self.cluster.api.get(f"/v1/sandboxes/{self.id}/snapshots/point")
        return found

    def kept(self) -> int:
        """Return how many snapshots the host itself knows of."""
        with self.cluster.libvirt(self.place) as connection:
            return int(connection.lookupByName("one").snapshotNum())


class GoBack(MakeSnapshot):
    """A guest is brought back to where it was."""

    def prepare(self) -> None:
        super().prepare()
        path = f"/v1/sandboxes/{self.id}/snapshots"
        self.cluster.api.post(path, {"name": "point"})
        wait_until(lambda: MakeSnapshot.is_done(self), what="a snapshot")

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/snapshots/point/revert")

    def is_done(self) -> bool:
        return super().is_done() and self.state("one") == "RUNNING"


class DeleteSnapshot(GoBack):
    """A snapshot is deleted."""

    def act(self) -> None:
        try:
            self.delete(f"/v1/sandboxes/{self.id}/snapshots/point")
        except Failure as failure:
            if failure.exit_code is not Exit.NOT_FOUND:
                raise

    def is_done(self) -> bool:
        left = self.cluster.api.get(f"/v1/sandboxes/{self.id}/snapshots")["items"]
        return not left and self.kept() == 0


class DestroyWithSnapshot(GoBack):
    """A sandbox goes with its snapshots."""

    def act(self) -> None:
        self.delete_sandbox()

    def delete_sandbox(self) -> None:
        self.delete(f"/v1/sandboxes/{self.id}")

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class SnapInVain(MakeSnapshot):
    """The guest ends before its memory could be kept, so that its snapshot fails."""

    def prepare(self) -> None:
        super().prepare()
        self.meddle(when=True, act=lambda domain: domain.suspend())

    def is_done(self) -> bool:
        return self.point()["state"] == "FAILED" and self.kept() == 0

    def mend(self) -> None:
        self.meddle(when=True, act=lambda domain: domain.resume())
