"""What happens to a sandbox that is there: by its owner, its lease, and people on its host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

import libvirt

from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure
from tests.faults.story import CONVERGES_S, LONG_S, Story
from tests.fleet.process import wait_until

SOON_S = 2
KEPT_S = 40 * 24 * 3600
"""Longer than anything is kept."""


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
    too_late: ClassVar = frozenset({"DESTROYED"})

    def is_done(self) -> bool:
        return self.state(self.id) == "DESTROYED"


class ExpireToStop(WithSandbox):
    """A lease ends, and its sandbox is stopped and kept."""

    wanted: ClassVar = {"ttl_seconds": SOON_S, "on_expire": "stop"}
    too_late: ClassVar = frozenset({"STOPPED"})

    def is_done(self) -> bool:
        return self.state(self.id) == "STOPPED"


class ExpireToImage(WithSandbox):
    """A lease ends, and its disk is to be an image: these hosts give no bytes, so it is kept."""

    wanted: ClassVar = {"ttl_seconds": SOON_S, "on_expire": "image"}
    too_late: ClassVar = frozenset({"STOPPED"})

    def is_done(self) -> bool:
        found = self.sandbox("one")
        kept = any(one["kind"] == "failing" for one in found["conditions"])
        return kept and self.state("one") == "STOPPED"


class StepClock(WithSandbox):
    """The wall clock is set forward: leases follow it once, and nothing is reaped for it."""

    wanted: ClassVar = {"ttl_seconds": LONG_S}

    def prepare(self) -> None:
        super().prepare()
        self._ends_at = self.expires_at()

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act == "clock_guard.follow"

    def act(self) -> None:
        self.cluster.set_clock_forward(2 * LONG_S)

    def is_done(self) -> bool:
        return abs((self.expires_at() - self._ends_at).total_seconds() - 2 * LONG_S) < SOON_S

    def clean_up(self) -> None:
        self.cluster.set_clock_right()


class Forgotten(WithSandbox):
    """A sandbox is long gone when the daemon starts: its record and all that tells of it go too."""

    def prepare(self) -> None:
        # What other stories wrote at other times would go too, out of its order.
        self.cluster.start_over()
        self.cluster.start()
        wait_until(self.cluster.is_up, what="the hosts")
        super().prepare()
        self.delete(f"/v1/sandboxes/{self.id}")
        wait_until(lambda: self.state(self.id) == "DESTROYED", what="its end")
        self.cluster.kill()
        self.cluster.sleep(KEPT_S)

    @staticmethod
    def counts(act: str, nth: int) -> bool:
        return act in ("retention.judge", "retention.remove")

    def act(self) -> None:
        self.cluster.launch()
        child = self.cluster.running
        wait_until(lambda: not child.is_running or self.is_done(), what="the start, and the sweep")

    def repeat(self) -> None:
        """Do nothing: whoever restarts the daemon has done it."""

    def is_done(self) -> bool:
        """Return whether the last of it is gone, too: the clock is set right then."""
        try:
            self.state(self.id)
        except Failure as failure:
            gone = failure.exit_code is Exit.NOT_FOUND
            return gone and not self.cluster.api.get("/v1/events", sandbox_id=self.id)["items"]
        return False

    def clean_up(self) -> None:
        self.cluster.set_clock_right()


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
        def pause(domain: libvirt.virDomain) -> None:
            if domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING:  # else an earlier act did it
                domain.suspend()

        self.meddle(when=True, act=pause)

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
