"""The way to a simulated machine: slow, deaf or dead when it is, and watched at every call.

It is the fake that passes the driver's contract; what differs is when calls are answered. Before a
call that changes something it is asked whether a committed intent stands for it (I4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from scheduler.clock import Clock
from scheduler.errors import (
    HostRefused,
    HostTimeout,
    HostUnreachable,
    IdentityChanged,
)
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.marks import Keyring
from scheduler.hosts.plans import BaseImage, DomainPlan
from scheduler.model import HostResources
from tests.hosts.fake import FakeDriver
from tests.model.machines import Slot

T = TypeVar("T")

CALL_SECONDS = 0.05
DEADLINE_SECONDS = 20.0
"""How long a call to a machine that hangs is waited for."""
CHANGING = frozenset(
    {
        "create_overlay",
        "create_seed",
        "flatten_volume",
        "delete_volume",
        "define",
        "start",
        "shutdown",
        "power_off",
        "resume",
        "undefine",
        "take_snapshot",
        "revert_snapshot",
        "delete_snapshot",
        "create_layer",
        "freeze",
        "merge",
        "flush",
        "restate",
    }
)


class Oversight(Protocol):
    """Who is told of every call, and may end the daemon at any of them."""

    async def passing(self) -> None:
        """A moment at which the daemon may die; it does not return when that has happened."""
        ...

    async def about_to(self, host_id: str, verb: str, thing: str) -> None:
        """A call that changes a domain (by UUID) or a volume (by name) is about to be made."""
        ...


class WatchedDriver(FakeDriver):
    """The port on whatever machine is in a slot."""

    def __init__(
        self,
        slot: Slot,
        *,
        keyring: Keyring,
        clock: Clock,
        oversight: Oversight,
        on_hint: Callable[[str], None],
    ) -> None:
        super().__init__(slot.machine.fake, keyring, clock, on_hint)
        self.expected_uuid: str | None = None
        self._slot = slot
        self._oversight = oversight
        self._time = clock

    async def create_overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        await self._intend("create_overlay", name)
        await super().create_overlay(name, base, capacity_mb)

    def _overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        super()._overlay(name, base, capacity_mb)
        # A disk of bytes of its own, as whoever boots from it writes them.
        self.host.contents.setdefault(name, bytearray(f"{name} {self.host.host_id}".encode()))

    async def create_seed(self, name: str, iso: bytes) -> bool:
        await self._intend("create_seed", name)
        return await super().create_seed(name, iso)

    async def flatten_volume(self, source: str, name: str) -> None:
        await self._intend("flatten_volume", name)
        await super().flatten_volume(source, name)

    async def delete_volume(self, name: str) -> None:
        await self._intend("delete_volume", name)
        await super().delete_volume(name)

    async def define(self, plan: DomainPlan) -> None:
        await self._intend("define", plan.uuid)
        await super().define(plan)

    async def start(self, uuid: str) -> None:
        await self._intend("start", uuid)
        await super().start(uuid)

    async def shutdown(self, uuid: str) -> None:
        await self._intend("shutdown", uuid)
        await super().shutdown(uuid)

    async def power_off(self, uuid: str) -> None:
        await self._intend("power_off", uuid)
        await super().power_off(uuid)

    async def resume(self, uuid: str) -> None:
        await self._intend("resume", uuid)
        await super().resume(uuid)

    async def undefine(self, uuid: str) -> None:
        await self._intend("undefine", uuid)
        await super().undefine(uuid)

    async def take_snapshot(self, uuid: str, name: str) -> bool:
        await self._intend("take_snapshot", uuid)
        return await super().take_snapshot(uuid, name)

    async def revert_snapshot(self, uuid: str, name: str) -> None:
        await self._intend("revert_snapshot", uuid)
        await super().revert_snapshot(uuid, name)

    async def delete_snapshot(self, uuid: str, name: str) -> None:
        await self._intend("delete_snapshot", uuid)
        await super().delete_snapshot(uuid, name)

    async def create_layer(self, name: str, on: str) -> None:
        await self._intend("create_layer", name)
        await super().create_layer(name, on)

    async def freeze(self, uuid: str, layer: str) -> bool:
        await self._intend("freeze", uuid)
        await self._intend("create_layer", layer)
        return await super().freeze(uuid, layer)

    async def merge(self, uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        await self._intend("merge", uuid)
        return await super().merge(uuid, lower, upper, runs=runs)

    async def flush(self, uuid: str) -> bool:
        await self._intend("flush", uuid)
        return await super().flush(uuid)

    async def restate(self, plan: DomainPlan) -> None:
        await self._intend("restate", plan.uuid)
        await super().restate(plan)

    async def _intend(self, verb: str, thing: str) -> None:
        await self._oversight.about_to(self._slot.host_id, verb, thing)

    async def _call(self, verb: str, effect: Callable[[], T]) -> T:
        slot = self._slot
        await self._oversight.passing()
        self.host = machine = slot.machine.fake
        await asyncio.sleep(CALL_SECONDS)
        answer = await (self._hang(verb, effect) if slot.hung else self._now(verb, effect))
        if slot.machine.fake is not machine:
            raise HostUnreachable(f"{slot.name} was replaced while it was asked")
        await self._oversight.passing()
        if verb == "inventory":
            slot.looked_at = self._time.monotonic()
        return answer

    async def _now(self, verb: str, effect: Callable[[], T]) -> T:
        slot = self._slot
        if not slot.reachable:
            raise HostUnreachable(f"{slot.name} does not answer")
        self._check_identity()
        if verb in CHANGING and slot.refusing:
            slot.refusing -= 1
            raise HostRefused(f"{slot.name} refuses to {verb}")
        answer = effect()
        if verb in CHANGING and slot.losing:
            slot.losing -= 1
            raise HostTimeout(f"{slot.name} did not {verb} in time")
        return answer

    async def _hang(self, verb: str, effect: Callable[[], T]) -> T:
        """Wait for the machine to go on, and give up at the deadline; the call stays with it."""
        slot = self._slot
        call = slot.keep(effect) if verb in CHANGING else None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await slot.released()
        except TimeoutError:
            raise HostTimeout(f"{slot.name} did not {verb} in time") from None
        if call is None:
            return await self._now(verb, effect)
        if call.error is not None:
            raise call.error
        answer: T = call.answer
        return answer

    def _check_identity(self) -> None:
        found = self._slot.machine.fake.host_uuid
        if self.expected_uuid is not None and found != self.expected_uuid:
            raise IdentityChanged(
                f"{self._slot.name} is {found}, not {self.expected_uuid}",
                details={"expected": self.expected_uuid, "found": found},
            )


class WatchedDrivers:
    """The way to every slot, for one daemon: gone with it."""

    def __init__(
        self,
        slots: Mapping[str, Slot],
        keyring: Keyring,
        clock: Clock,
        oversight: Oversight,
        *,
        on_hint: Callable[[str], None],
    ) -> None:
        self._slots = slots
        self._make = partial(
            WatchedDriver, keyring=keyring, clock=clock, oversight=oversight, on_hint=on_hint
        )
        self._by_host: dict[str, WatchedDriver] = {}

    def get(self, host: HostResources) -> HostDriver:
        """Return the host's driver, for the machine it is known to be."""
        driver = self._by_host.get(host.id)
        if driver is None:
            driver = self._by_host[host.id] = self._make(self._slots[host.id])
        driver.expected_uuid = host.host_uuid
        return driver

    def listened_to(self) -> list[str]:
        """Return the domains whose consoles this daemon has open."""
        return [uuid for driver in self._by_host.values() for uuid in driver._consoles]

    async def forget(self, host_id: str) -> None:
        """Do nothing: slots stay."""
