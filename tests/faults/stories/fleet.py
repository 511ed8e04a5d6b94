"""Hosts that come, go, change and are emptied, and the daemon's very first start."""

from __future__ import annotations

from scheduler.cli.exits import Exit
from tests.faults.cluster import Document
from tests.faults.story import BY_THE_WAY, Story, refused
from tests.fleet.process import wait_until


class Drain(Story):
    """A host is emptied, its sandboxes destroyed, and this told when it is proven."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        """Two writes there are always: both may be gone by the second, or one after the other."""
        return Story.counts(act, nth) and (act != "drainer.write" or nth <= 2)

    def prepare(self) -> None:
        for name in ("one", "two"):
            self.created(name, host=self.place)

    @property
    def place(self) -> str:
        return self.cluster.hosts[0].name

    def act(self) -> None:
        self.post(f"/v1/hosts/{self.place}/drain", {"policy": "destroy", "reason": "the story"})

    def is_done(self) -> bool:
        return bool(self.host(self.place)["state"] == "DRAINED")


class AbortDrain(Drain):
    """A drain that waits for leases to end is called off."""

    def prepare(self) -> None:
        super().prepare()
        wish = {"policy": "expire", "deadline_seconds": None}
        self.cluster.api.post(f"/v1/hosts/{self.place}/drain", wish)

    def act(self) -> None:
        self.post(f"/v1/hosts/{self.place}/drain/abort")

    def is_done(self) -> bool:
        return bool(self.host(self.place)["state"] == "CORDONED")


class UndoDrain(AbortDrain):
    """And the host takes sandboxes again."""

    def act(self) -> None:
        self.post(f"/v1/hosts/{self.place}/drain/undo")

    def is_done(self) -> bool:
        return bool(self.host(self.place)["state"] == "ACTIVE")


class Cordon(Story):
    """A host takes no more sandboxes."""

    def act(self) -> None:
        self.post(f"/v1/hosts/{self.cluster.hosts[0].name}/cordon", {"reason": "the story"})

    def is_done(self) -> bool:
        return bool(self.host(self.cluster.hosts[0].name)["state"] == "CORDONED")


class EditHost(Story):
    """A host is changed."""

    def act(self) -> None:
        self.patch(f"/v1/hosts/{self.cluster.hosts[0].name}", {"max_sandboxes": 77})

    def is_done(self) -> bool:
        return bool(self.host(self.cluster.hosts[0].name)["max_sandboxes"] == 77)

    def clean_up(self) -> None:
        self.patch(f"/v1/hosts/{self.cluster.hosts[0].name}", {"max_sandboxes": None})


class AddHost(Story):
    """A host is taken into the fleet and met for the first time."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act in ("hosts.add", "looks.seen") and nth <= 3

    def act(self) -> None:
        self.post("/v1/hosts", self.wanted())

    def is_done(self) -> bool:
        return bool(self.host(self.cluster.spare.name)["health"] == "UP")

    def clean_up(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(f"/v1/hosts/{self.cluster.spare.name}")

    def wanted(self) -> Document:
        spare = self.cluster.spare
        return {"name": spare.name, "uri": spare.uri, "pool": "default-pool"}


class WithSpareHost(AddHost):
    """There is a host beside the configured ones, with nothing on it."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act not in BY_THE_WAY

    def prepare(self) -> None:
        self.cluster.api.post("/v1/hosts", self.wanted())
        wait_until(super().is_done, what="the spare host to be up")


class RemoveHost(WithSpareHost):
    """An empty host is let go."""

    def act(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(f"/v1/hosts/{self.cluster.spare.name}")

    def is_done(self) -> bool:
        names = {host["name"] for host in self.cluster.api.items("/v1/hosts")}
        return self.cluster.spare.name not in names


class AcceptIdentity(WithSpareHost):
    """A host answers as another machine, and an operator says that this is right."""

    def prepare(self) -> None:
        super().prepare()
        spare = self.cluster.spare
        # A host of the test driver is known by its URI: spelt otherwise, it is another machine.
        elsewhere = spare.uri.replace("socket=/", "socket=//")
        self.patch(f"/v1/hosts/{spare.name}", {"uri": elsewhere})
        wait_until(lambda: bool(self._refused()), what="the other machine to be refused")
        self._uuid = self._refused()

    def act(self) -> None:
        path = f"/v1/hosts/{self.cluster.spare.name}/accept-identity"
        self.post(path, {"host_uuid": self._uuid})

    def is_done(self) -> bool:
        host = self.host(self.cluster.spare.name)
        return (host["host_uuid"], host["health"]) == (self._uuid, "UP")

    def _refused(self) -> str:
        return str(self.host(self.cluster.spare.name)["refused_host_uuid"] or "")


class LoseHost(WithSpareHost):
    """A host answers no longer, and is missed."""

    def act(self) -> None:
        self.cluster.spare.kill()

    def is_done(self) -> bool:
        return bool(self.host(self.cluster.spare.name)["health"] == "DOWN")

    def mend(self) -> None:
        self.cluster.refurbish(self.cluster.spare)


class FirstStart(Story):
    """The very first start: schema, cluster, key, configured hosts, the first look at each."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act not in ("looks.seen", "orphans.tell") or nth <= 2

    def prepare(self) -> None:
        self.cluster.start_over()

    def act(self) -> None:
        self.cluster.launch()
        child = self.cluster.running
        wait_until(lambda: not child.is_running or self.cluster.is_ready(), what="the first start")

    def repeat(self) -> None:
        """Do nothing: whoever restarts the daemon has done it."""

    def is_done(self) -> bool:
        return self.cluster.is_up()
