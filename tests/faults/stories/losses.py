"""What the records no longer tell, or tell wrongly, and how that is mended."""

from __future__ import annotations

from scheduler.control.leftovers import REMOVED
from tests.faults.stories.lives import WithSandbox
from tests.faults.story import LONG_S
from tests.fleet.process import wait_until


class Reappear(WithSandbox):
    """A destroyed sandbox's domain is there again, as after a host's restore from a backup."""

    def prepare(self) -> None:
        super().prepare()
        with self.cluster.libvirt(self.place) as connection:
            xml = connection.lookupByName("one").XMLDesc()
            self.cluster.api.delete(f"/v1/sandboxes/{self.id}")
            wait_until(lambda: self.state(self.id) == "DESTROYED", what="its end")
            connection.defineXML(xml).create()

    def act(self) -> None:
        self.cluster.set_clock_forward(LONG_S)

    def is_done(self) -> bool:
        events = self.cluster.api.get("/v1/events", sandbox_id=self.id, limit=1000)["items"]
        return bool(events[-1]["reason_code"] == REMOVED)

    def clean_up(self) -> None:
        self.cluster.set_clock_right()


class Heal(Reappear):
    """And an operator does not wait until it is old enough to go by itself."""

    def act(self) -> None:
        self.post("/v1/audit/heal?wait=10")


class Forget(WithSandbox):
    """An operator lets go of a sandbox that is still there; what it left goes when it is old."""

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/forget", {"force": True})

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"

    def mend(self) -> None:
        self.cluster.set_clock_forward(LONG_S)

    def clean_up(self) -> None:
        self.cluster.set_clock_right()


class Rebuild(WithSandbox):
    """The database is lost, and restored from the marks on the hosts."""

    def prepare(self) -> None:
        super().prepare()
        self.created("two")
        self.uuid = str(self.sandbox("one")["domain_uuid"])
        self.cluster.lose_database()

    def act(self) -> None:
        self.post("/v1/rebuild?wait=10")

    def is_done(self) -> bool:
        return [self.state(name) for name in ("one", "two")] == ["RUNNING", "RUNNING"]


class Adopt(Rebuild):
    """Or one sandbox of it is, and then the others."""

    def act(self) -> None:
        self.post(f"/v1/orphans/{self.place.name}/{self.uuid}/adopt?wait=10")
        self.post("/v1/rebuild?wait=10")


class Reap(Rebuild):
    """Or one is destroyed for good, and the others are restored."""

    def act(self) -> None:
        self.post(f"/v1/orphans/{self.place.name}/{self.uuid}/reap?wait=10")
        self.post("/v1/rebuild?wait=10")

    def is_done(self) -> bool:
        return (self.state(self.id), self.state("two")) == ("DESTROYED", "RUNNING")
