"""How sandboxes come to be, or do not."""

from __future__ import annotations

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.story import BY_THE_WAY, LONG_S, Story, refused
from tests.fleet.process import wait_until

MOVING = frozenset({"relocator.record", "host.delete_volume", "host.volumes_absent"})
MOVING |= {"leftovers.remove", "records.base_seen"}


class Create(Story):
    """A sandbox is placed, built, started and found."""

    def act(self) -> None:
        self.create("one")

    def is_done(self) -> bool:
        return self.state("one") == "RUNNING"


class CreateThree(Story):
    """Three at once, their commits and calls interleaved; the daemon dies of the second."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return nth == 2 and act not in BY_THE_WAY

    def act(self) -> None:
        for name in ("one", "two", "three"):
            self.create(name)

    def is_done(self) -> bool:
        return all(self.state(name) == "RUNNING" for name in ("one", "two", "three"))


class ChangeOfMind(Story):
    """A sandbox whose owner, after a death in the midst of it, wants it gone at once."""

    again = False

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act.startswith("host.") and act != "host.ensure_pool" and nth == 1

    def act(self) -> None:
        self.id = self.create("one")["id"]
        if not self.again:
            wait_until(lambda: self.state(self.id) == "RUNNING", what="a sandbox")
        self.delete(f"/v1/sandboxes/{self.id}")

    def repeat(self) -> None:
        self.again = True
        super().repeat()

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class CreateStopped(Story):
    """Built and not started."""

    def act(self) -> None:
        self.create("one", auto_start=False)

    def is_done(self) -> bool:
        return self.state("one") == "STOPPED"


class FindNoRoom(Story):
    """A request is refused, and why is kept."""

    def act(self) -> None:
        with refused(Exit.NO_CAPACITY):
            self.create("one", memory_mb=1 << 16)


class BuildInVain(Story):
    """Somebody else's domain has the name, so that the host refuses to define ours."""

    def prepare(self) -> None:
        with self.cluster.libvirt(self.cluster.hosts[0]) as connection:
            connection.defineXML(
                "<domain type='test'><name>one</name><memory>1024</memory><os>"
                "<type>hvm</type></os></domain>"
            )

    def act(self) -> None:
        self.create("one", host=self.cluster.hosts[0].name)

    def is_done(self) -> bool:
        return self.state("one") == "ERROR"

    def mend(self) -> None:
        with self.cluster.libvirt(self.cluster.hosts[0]) as connection:
            connection.lookupByName("one").undefine()

    def clean_up(self) -> None:
        """Begin with hosts again of which no daemon remembers that builds failed there."""
        self.cluster.start_over()
        self.cluster.start()
        wait_until(self.cluster.is_up, what="the hosts of a fresh cluster")


class Probe(BuildInVain):
    """After a pause the host that refused is tried again by one build, which closes its breaker."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act == "breakers.write"

    def prepare(self) -> None:
        super().prepare()
        self.created("one", "ERROR", host=self.cluster.hosts[0].name)
        super().mend()

    def act(self) -> None:
        self.cluster.sleep(LONG_S)
        wait_until(self._is_taken, what="facts that are fresh by the new time")

    def is_done(self) -> bool:
        return self.state("two") == "RUNNING"

    def mend(self) -> None:
        """Leave the host alone: it was mended before the story began."""

    def _is_taken(self) -> bool:
        self.rewind()
        try:
            self.create("two", host=self.cluster.hosts[0].name)
        except Failure as failure:
            if failure.exit_code is not Exit.NO_CAPACITY:
                raise
            return False
        return True


class BuildElsewhere(BuildInVain):
    """And another host has room: the sandbox moves there, and nothing stays behind."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act in MOVING

    def prepare(self) -> None:
        super().prepare()
        self.cluster.api.post(f"/v1/hosts/{self.cluster.hosts[1].name}/cordon")

    def act(self) -> None:
        self.create("one")
        self.post(f"/v1/hosts/{self.cluster.hosts[1].name}/uncordon")

    def is_done(self) -> bool:
        return self.state("one") == "RUNNING"
