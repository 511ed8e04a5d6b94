"""The stories: each way through the daemon that makes something durable, as short as can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import ClassVar

import libvirt

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from scheduler.control.leftovers import REMOVED
from tests.faults.story import BY_THE_WAY, CONVERGES_S, Story
from tests.fleet.process import wait_until

MOVING = frozenset({"relocator.record", "host.delete_volume", "host.volumes_absent"})
MOVING |= {"leftovers.remove", "records.base_seen"}
LONG_S = 3600
SOON_S = 2


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


class WithSandbox(Story):
    """There is a sandbox before the story begins."""

    wanted: ClassVar[Mapping[str, object]] = {}
    before: ClassVar[str] = "RUNNING"

    def prepare(self) -> None:
        made = self.created("one", self.before, **self.wanted)
        self.id = str(made["id"])
        self.place = next(h for h in self.cluster.hosts if h.name == made["host_name"])

    def expires_at(self) -> datetime:
        return datetime.fromisoformat(self.sandbox(self.id)["expires_at"])

    def meddle(self, *, when: bool, act: Callable[[libvirt.virDomain], object]) -> None:
        """Do something to the domain behind the daemon's back if it runs, or if it does not."""
        with self.cluster.libvirt(self.place) as connection:
            domain = connection.lookupByName("one")
            if bool(domain.isActive()) is when:
                act(domain)


class Stop(WithSandbox):
    """A guest is asked to shut down."""

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/stop")

    def is_done(self) -> bool:
        return self.state("one") == "STOPPED"


class StopByForce(Stop):
    """A paused guest cannot shut down: it is powered off."""

    def prepare(self) -> None:
        super().prepare()
        self.meddle(when=True, act=lambda domain: domain.suspend())
        wait_until(lambda: bool(self.sandbox("one")["conditions"]), what="the pause to be seen")


class Start(WithSandbox):
    """A stopped sandbox is started again."""

    before = "STOPPED"
    wanted: ClassVar = {"auto_start": False}

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/start")

    def is_done(self) -> bool:
        return self.state("one") == "RUNNING"


class Destroy(WithSandbox):
    """Domain and volumes are removed, their absence proven, the room given back."""

    def act(self) -> None:
        self.delete(f"/v1/sandboxes/{self.id}")

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class Extend(WithSandbox):
    """A lease is made longer."""

    wanted: ClassVar = {"ttl_seconds": LONG_S}

    def prepare(self) -> None:
        super().prepare()
        self._ends_at = self.expires_at()

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/extend", {"ttl_seconds": 2 * LONG_S})

    def is_done(self) -> bool:
        return LONG_S <= (self.expires_at() - self._ends_at).total_seconds() < LONG_S + CONVERGES_S


class Expire(WithSandbox):
    """A lease ends, and with it the sandbox."""

    wanted: ClassVar = {"ttl_seconds": SOON_S}

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class ExpireToStop(WithSandbox):
    """A lease ends, and its sandbox is stopped and kept."""

    wanted: ClassVar = {"ttl_seconds": SOON_S, "on_expire": "stop"}

    def is_done(self) -> bool:
        return self.state(self.id) == "STOPPED"


class Fail(WithSandbox):
    """Somebody kills the domain."""

    def act(self) -> None:
        self.meddle(when=True, act=lambda domain: domain.destroy())

    def is_done(self) -> bool:
        return self.state("one") == "ERROR"


class Retry(Fail):
    """A failed sandbox is brought up again on its owner's word."""

    def prepare(self) -> None:
        super().prepare()
        super().act()
        wait_until(super().is_done, what="the failure to be seen")

    def act(self) -> None:
        self.post(f"/v1/sandboxes/{self.id}/retry")

    def is_done(self) -> bool:
        return self.state("one") == "RUNNING"


class Lose(WithSandbox):
    """Somebody removes the domain: the sandbox is lost, and keeps its room until it is deleted."""

    before = "STOPPED"
    wanted: ClassVar = {"auto_start": False}

    def act(self) -> None:
        with self.cluster.libvirt(self.place) as connection:
            for domain in connection.listAllDomains():
                if domain.name() == "one":
                    domain.undefine()

    def is_done(self) -> bool:
        return str(self.sandbox("one")["reason_code"]) == "domain_lost"


class Pause(WithSandbox):
    """Somebody pauses the guest: a condition, and no change of state."""

    def act(self) -> None:
        self.meddle(when=True, act=lambda domain: domain.suspend())

    def is_done(self) -> bool:
        return [one["kind"] for one in self.sandbox("one")["conditions"]] == ["paused"]


class Resume(Pause):
    """And lets it go on."""

    def prepare(self) -> None:
        super().prepare()
        super().act()
        wait_until(super().is_done, what="the pause to be seen")

    def act(self) -> None:
        def go_on(domain: libvirt.virDomain) -> None:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

        self.meddle(when=True, act=go_on)

    def is_done(self) -> bool:
        return not self.sandbox("one")["conditions"]


class Reappear(WithSandbox):
    """A destroyed sandbox's domain is there again, as after a host's restore from a backup."""

    def prepare(self) -> None:
        super().prepare()
        with self.cluster.libvirt(self.place) as connection:
            xml = connection.lookupByName("one").XMLDesc()
            self.cluster.api.delete(f"/v1/sandboxes/{self.id}", wait=30)
            connection.defineXML(xml).create()

    def act(self) -> None:
        self.cluster.set_clock_forward(LONG_S)

    def is_done(self) -> bool:
        events = self.cluster.api.get("/v1/events", sandbox_id=self.id, limit=1000)["items"]
        return bool(events[-1]["reason_code"] == REMOVED)

    def clean_up(self) -> None:
        self.cluster.set_clock_forward(0)


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
        self.cluster.set_clock_forward(0)


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


class StepClock(WithSandbox):
    """The wall clock is set forward: leases follow it once, and nothing is reaped for it."""

    wanted: ClassVar = {"ttl_seconds": LONG_S}

    def prepare(self) -> None:
        super().prepare()
        self._ends_at = self.expires_at()

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act == "clock_guard.keep"

    def act(self) -> None:
        self.cluster.set_clock_forward(2 * LONG_S)

    def is_done(self) -> bool:
        return abs((self.expires_at() - self._ends_at).total_seconds() - 2 * LONG_S) < SOON_S

    def clean_up(self) -> None:
        self.cluster.set_clock_forward(0)


class Drain(Story):
    """A host is emptied, its sandboxes destroyed, and this told when it is proven."""

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
        spare = self.cluster.spare
        self.post("/v1/hosts", {"name": spare.name, "uri": spare.uri, "pool": "default-pool"})

    def is_done(self) -> bool:
        return bool(self.host(self.cluster.spare.name)["health"] == "UP")

    def clean_up(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(f"/v1/hosts/{self.cluster.spare.name}")


class WithSpareHost(AddHost):
    """There is a host beside the configured ones, with nothing on it."""

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act not in BY_THE_WAY

    def prepare(self) -> None:
        super().act()
        wait_until(super().is_done, what="the spare host to be up")


class RemoveHost(WithSpareHost):
    """An empty host is let go."""

    def act(self) -> None:
        with refused(Exit.NOT_FOUND):
            self.delete(f"/v1/hosts/{self.cluster.spare.name}")

    def is_done(self) -> bool:
        names = {host["name"] for host in self.cluster.api.items("/v1/hosts")}
        return self.cluster.spare.name not in names


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


@contextmanager
def refused(code: Exit) -> Iterator[None]:
    """Take this refusal for an answer."""
    try:
        yield
    except Failure as failure:
        if failure.exit_code is not code:
            raise


STORIES: tuple[type[Story], ...] = (
    FirstStart,
    Create,
    CreateThree,
    ChangeOfMind,
    CreateStopped,
    FindNoRoom,
    BuildInVain,
    BuildElsewhere,
    Stop,
    StopByForce,
    Start,
    Destroy,
    Extend,
    Expire,
    ExpireToStop,
    Fail,
    Retry,
    Lose,
    Pause,
    Resume,
    Reappear,
    Heal,
    Forget,
    Rebuild,
    Adopt,
    Reap,
    StepClock,
    Drain,
    AbortDrain,
    UndoDrain,
    Cordon,
    EditHost,
    AddHost,
    RemoveHost,
    LoseHost,
)
