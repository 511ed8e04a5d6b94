"""The machines behind the host records: what they hold, and what people and fate do to them.

A machine outlives every daemon. One that hangs keeps the calls it was sent and carries them out, in
their order, when it goes on: long after whoever asked has given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from scheduler.errors import SandboxdError
from scheduler.model import DomainState, ObservedVolume
from tests.hosts.fake import FakeDomain, FakeHost
from tests.hosts.fake_snapshots import lose_power

IMAGE = "golden.qcow2"
_ON = (DomainState.RUNNING, DomainState.PAUSED)


@dataclass(kw_only=True)
class LateCall:
    """A call that a hanging machine was sent; what came of it once it is carried out."""

    effect: Callable[[], Any]
    answer: Any = None
    error: SandboxdError | None = None

    def carry_out(self) -> None:
        """Take effect now, whether anybody still waits for the answer or not."""
        try:
            self.answer = self.effect()
        except SandboxdError as error:
            self.error = error


@dataclass(kw_only=True)
class Machine:
    """One machine and everything that others than sandboxd have on it."""

    fake: FakeHost
    foreign_domains: dict[str, FakeDomain] = field(default_factory=dict)
    """Copies of the domains that must stay exactly as they are."""
    foreign_volumes: dict[str, ObservedVolume] = field(default_factory=dict)
    stripped: dict[str, str] = field(default_factory=dict)
    """By UUID, the marks that somebody took off domains of ours."""

    @classmethod
    def new(cls, host_id: str, number: int, *, cpus: int, memory_mb: int) -> Machine:
        """Return a machine with nothing but the golden image."""
        uuid = f"00000000-0000-4000-8000-{number:012d}"
        fake = FakeHost(host_id=host_id, host_uuid=uuid, cpus=cpus, memory_mb=memory_mb)
        fake.add_image(IMAGE, 1024, 8)
        fake.greeting = b"booting\n"
        machine = cls(fake=fake)
        machine.foreign_volumes = dict(fake.volumes)
        return machine

    def put_foreign_domain(self, uuid: str, name: str) -> None:
        """Define and start a domain that is nobody's business."""
        if uuid in self.fake.domains or name in {one.name for one in self.fake.domains.values()}:
            return
        stranger = FakeDomain(uuid=uuid, name=name, state=DomainState.RUNNING)
        self.fake.domains[uuid] = stranger
        self.keep_foreign(stranger)

    def put_foreign_volume(self, name: str) -> None:
        """Make a volume that is nobody's business."""
        if name in self.fake.volumes:
            return
        self.fake.add_image(name, 100, 10)
        self.foreign_volumes[name] = self.fake.volumes[name]

    def keep_foreign(self, domain: FakeDomain) -> None:
        """Remember a domain as it is: from now on nothing may change it."""
        self.foreign_domains[domain.uuid] = copy(domain)

    def strip_mark(self, domain: FakeDomain) -> None:
        """Take our mark off a domain, which makes it foreign."""
        if domain.mark_xml is not None:
            self.stripped[domain.uuid] = domain.mark_xml
            domain.mark_xml = None
            self.keep_foreign(domain)

    def mend_marks(self) -> None:
        """Put every mark back that was taken off."""
        for uuid, mark in self.stripped.items():
            domain = self.fake.domains[uuid]
            domain.mark_xml = mark
            del self.foreign_domains[uuid]
        self.stripped.clear()

    def power_cycle(self) -> None:
        """Lose power and come back: every guest is off, as nobody here asked for."""
        lose_power(self.fake)
        for uuid in self.foreign_domains:
            self.keep_foreign(self.fake.domains[uuid])

    def ours(self) -> list[FakeDomain]:
        """Return the domains that carry a mark of ours, in the order they were defined."""
        return [one for one in self.fake.domains.values() if one.mark_xml is not None]


class Slot:
    """A place in the rack: the address at which one machine or another answers, or none."""

    def __init__(self, name: str, host_id: str, machine: Machine) -> None:
        self.name = name
        self.host_id = host_id
        self.machine = machine
        self.reachable = True
        self.hung = False
        self.refusing = 0
        """So many mutating calls will be refused."""
        self.losing = 0
        """The answers of so many mutating calls will be lost."""
        self.well_since = 0.0
        """Virtual seconds since which it could answer every look."""
        self.looked_at = 0.0
        """Virtual seconds when the last look was answered."""
        self._original = machine
        self._late: list[LateCall] = []
        self._released = asyncio.Event()

    @property
    def is_replaced(self) -> bool:
        return self.machine is not self._original

    @property
    def well(self) -> bool:
        return self.reachable and not self.hung

    def hang(self) -> None:
        """Answer nothing from now on."""
        self.hung = True

    def keep(self, effect: Callable[[], Any]) -> LateCall:
        """Take a call that will be carried out when the machine goes on."""
        late = LateCall(effect=effect)
        self._late.append(late)
        return late

    async def released(self) -> None:
        """Return when the machine goes on."""
        await self._released.wait()

    def release(self) -> None:
        """Go on: what was asked for meanwhile is carried out in its order."""
        late, self._late = self._late, []
        for call in late:
            call.carry_out()
        self.hung = False
        done, self._released = self._released, asyncio.Event()
        done.set()

    def mend(self, now: float) -> None:
        """Answer, and answer well."""
        self.release()
        self.reachable = True
        self.refusing = self.losing = 0
        self.machine.fake.pool_active = True
        self.machine.fake.full = False
        self.well_since = now

    def disconnect(self) -> None:
        """Be gone from the network."""
        self.drop_calls()
        self.reachable = False

    def drop_calls(self) -> None:
        """Lose power or the network: what was not carried out never will be."""
        self._late.clear()

    def replace(self, machine: Machine) -> None:
        """Have another machine answer here."""
        self.drop_calls()
        self.machine = machine

    def put_back(self, now: float) -> None:
        """Have the machine answer here that did at first, or that was accepted since."""
        if self.is_replaced:
            self.drop_calls()
            self.machine = self._original
            self.well_since = now

    def accept(self, now: float) -> None:
        """Take the present machine for the right one from now on."""
        self._original = self.machine
        self.well_since = now
