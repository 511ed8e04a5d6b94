"""How sandboxes are taken to other hosts with their disks, because somebody asks or a host drains.

Hosts of libvirt's test driver have disks without bytes, which go with their images alone; that what
was written arrives is told on real hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tests.faults.disks import RealHost
from tests.faults.layers import live_layer
from tests.faults.stories.fleet import Drain
from tests.faults.stories.lives import WithSandbox
from tests.faults.story import CONVERGES_S, Story
from tests.fleet.furniture import POOL
from tests.fleet.process import wait_until

BLOCKS = (3, 0, 7)


class MoveAway(WithSandbox):
    """A guest is shut down, and runs on another host; its lease and name are the same."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        """What comes of building there, and of clearing here, others tell."""
        return Story.counts(act, nth) and (nth == 1 or act == "leftovers.remove")

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/move", {"reason": "the story"})

    def is_done(self) -> bool:
        made = self.sandbox(self.id)
        there = made["host_name"] != self.place.name and made["move_asked_at"] is None
        return there and made["state"] == self.before


class DrainAway(Drain):
    """A host is emptied, its sandboxes moved."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act == "drainer.write" and nth <= 2

    def act(self) -> None:
        self.post(f"/v1/hosts/{self.place}/drain", {"policy": "move", "reason": "the story"})

    def faults(self) -> Iterator[str]:
        for made in self.cluster.api.items("/v1/sandboxes"):
            if made["state"] != "RUNNING":
                yield f"{made['sandbox_name']} is {made['state']} after a drain by moving"


class MoveDisk(WithSandbox):
    """A disk is copied whole, taken in, brought to another host and built upon there."""

    before = "STOPPED"
    wanted: ClassVar = {"auto_start": False, "storage_mb": 160}
    calls_land_late = False
    converges_s = 2 * CONVERGES_S

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        rooms = ("moves.", "mover.", "freezer.", "relocator.", "ingestor.", "replicas.")
        calls = ("host.flatten_volume", "host.write_volume", "host.create_replica")
        return nth == 1 and (act.startswith(rooms) or act in calls)

    @property
    def target(self) -> RealHost:
        """The host that the daemon is told of when the story begins."""
        target = self.cluster.hosts[-1]
        assert isinstance(target, RealHost)
        return target

    def prepare(self) -> None:
        super().prepare()
        assert isinstance(self.place, RealHost)
        for number, pattern in enumerate(BLOCKS):
            self.place.write(live_layer(self.cluster, self.id), number, pattern)
        wanted = {"name": self.target.name, "uri": self.target.uri, "transport": "unix"}
        self.cluster.api.post("/v1/hosts", {**wanted, "pool": POOL, "virt_type": "qemu"})
        wait_until(lambda: self.host(self.target.name)["health"] == "UP", what="another host")

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/move", {"to_host": self.target.name})

    def is_done(self) -> bool:
        made = self.sandbox(self.id)
        return bool(made["host_name"] == self.target.name and made["state"] == self.before)

    def faults(self) -> Iterator[str]:
        made = self.sandbox(self.id)
        if made["state"] != "DESTROYED" and made["host_name"] == self.target.name:
            live = live_layer(self.cluster, self.id)
            if not self.target.reads(live, BLOCKS):
                yield f"{live} on {self.target.name} does not read what was written"

    def clean_up(self) -> None:
        for image in list(self.cluster.api.items("/v1/images")):
            self.delete(f"/v1/images/{image['id']}")
        there = self.cluster.api
        wait_until(lambda: not list(there.items("/v1/images")), what="no images", limit_s=120)
        self.delete(f"/v1/hosts/{self.target.name}")
        wait_until(
            lambda: self.target.name not in [one["name"] for one in there.items("/v1/hosts")],
            what="the end of the other host",
        )


REAL_MOVES: tuple[type[Story], ...] = (MoveDisk,)
"""Moves of disks with bytes, which only real hosts have."""
