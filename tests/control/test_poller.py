"""A loop of looks for every host, each costing nobody but itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scheduler.control.bugs import BugRecorder
from scheduler.control.looks import Look
from scheduler.control.poller import AGAIN_SECONDS, REST_SECONDS, Poller
from scheduler.errors import Unavailable
from scheduler.model import HostHealth, HostResources, Inventory
from scheduler.service.intents import Intent
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver
from tests.waits import until

EVERY = 10.0
STEPS = 20
"""Into so many a period is taken apart."""
INTENT: Intent[HostResources] = Intent(actor=ME)


class Polling:
    """A poller over a world, and what it told."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.looks: list[str] = []
        self.gone: list[str] = []
        self.told: list[str] = []
        self.failures: list[Exception] = []
        self.parked = 0
        recorder = BugRecorder(world.store, world.clock, parked=self._parked)
        self.poller = Poller(
            world.store,
            world.clock,
            world.looker,
            every=EVERY,
            looked=self._looked,
            gone=self.gone.append,
            report_bug=recorder.of_host,
            observe=lambda name, _seconds: self.told.append(name),
            rested=lambda name: self.told.append(f"{name} rests"),
        )

    def _parked(self) -> None:
        self.parked += 1

    async def _looked(self, look: Look) -> None:
        self.looks.append(look.host.name)
        if self.failures:
            raise self.failures.pop(0)

    async def looked(self, count: int, name: str = "alpha") -> None:
        await until(lambda: self.looks.count(name) >= count)
        await self.world.breathe()
        assert self.looks.count(name) == count

    async def still(self, count: int, name: str = "alpha") -> None:
        for _ in range(3):
            await self.world.breathe()
        assert self.looks.count(name) == count

    async def through(self, seconds: float) -> None:
        """Let time pass in steps so short that nothing comes late for more than one of them."""
        for _ in range(int(seconds / REST_SECONDS)):
            self.world.clock.advance(REST_SECONDS)
            for _ in range(3):
                await self.world.breathe()

    async def removed(self, name: str, *, gone: int) -> None:
        await self.world.services.hosts.remove(name, INTENT)
        await self.world.breathe()
        self.world.clock.advance(EVERY)
        await until(lambda: len(self.gone) == gone)
        await self.world.breathe()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poller.run())
        try:
            yield
        finally:
            self.poller.stop()
            await self.world.ended(task)


def driver_of(world: World, index: int = 0) -> FakeDriver:
    driver = list(world.drivers.by_host.values())[index]
    assert isinstance(driver, FakeDriver)
    return driver


async def test_every_host_is_polled_at_once_and_then_by_its_period(empty: World) -> None:
    await empty.add_host("alpha")
    await empty.add_host("beta")
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1, "alpha")
        await polling.looked(1, "beta")
        await polling.still(1)
        for _ in range(2):
            polling.looks.clear()
            await polling.through(EVERY)
            assert sorted(polling.looks) == ["alpha", "beta"]


async def test_hosts_met_together_are_not_looked_at_together_for_ever(empty: World) -> None:
    names = [f"host-{number}" for number in range(20)]
    for name in names:
        await empty.add_host(name)
    polling = Polling(empty)

    seen_at: dict[str, int] = {}
    async with polling.running():
        await until(lambda: set(polling.looks) == set(names))
        for step in range(4 * STEPS):
            polling.looks.clear()
            empty.clock.advance(EVERY / STEPS)
            for _ in range(3):
                await empty.breathe()
            for name in polling.looks:
                seen_at.setdefault(name, step)
    assert set(seen_at) == set(names)
    assert len(set(seen_at.values())) > STEPS / 4


async def test_a_hint_brings_the_next_look_but_a_storm_of_them_only_one(empty: World) -> None:
    driver = await empty.add_host("alpha")
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1)
        for _ in range(50):
            polling.poller.hint(driver.host.host_id)
        await polling.still(1)
        empty.clock.advance(REST_SECONDS)
        await polling.looked(2)
        empty.clock.advance(REST_SECONDS)
        await polling.still(2)


async def test_i8_a_hung_host_delays_no_other(empty: World) -> None:
    hung = await empty.add_host("alpha")
    await empty.add_host("beta")
    hung.gate = asyncio.Event()
    polling = Polling(empty)
    async with polling.running():
        for count in range(1, 5):
            await polling.looked(count, "beta")
            empty.clock.advance(REST_SECONDS)
            await empty.breathe()
            empty.clock.advance(EVERY)
        assert polling.looks.count("alpha") == 0
        assert (await empty.host("beta")).health is HostHealth.UP
        hung.gate.set()
        await until(lambda: polling.looks.count("alpha") == 1)


async def test_a_host_that_is_not_well_is_looked_at_sooner(empty: World) -> None:
    driver = await empty.add_host("alpha")
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1)
        driver.reachable = False
        for count in (2, 3, 4):
            empty.clock.advance(REST_SECONDS)
            await empty.breathe()
            empty.clock.advance(EVERY if count == 2 else AGAIN_SECONDS)
            await polling.looked(count)
        assert (await empty.host()).health is HostHealth.DOWN
        empty.clock.advance(REST_SECONDS)
        await empty.breathe()
        empty.clock.advance(AGAIN_SECONDS)
        await polling.still(4)


async def test_a_host_that_was_added_is_met_when_woken(empty: World) -> None:
    polling = Polling(empty)
    async with polling.running():
        await empty.breathe()
        driver = await empty.add_host("alpha")
        polling.poller.wake(driver.host.host_id)
        await polling.looked(1)
        polling.poller.wake(driver.host.host_id)
        empty.clock.advance(REST_SECONDS)
        await polling.looked(2)


async def test_a_host_that_was_removed_is_forgotten_after_its_last_look(empty: World) -> None:
    driver = await empty.add_host("alpha")
    polling = Polling(empty)
    host_id = driver.host.host_id
    async with polling.running():
        await polling.looked(1)
        driver.gate = asyncio.Event()
        polling.poller.wake(host_id)
        empty.clock.advance(REST_SECONDS)
        await until(lambda: driver.calls["inventory"] == 2)
        await empty.services.hosts.remove("alpha", INTENT)
        empty.clock.advance(EVERY)
        await empty.breathe()
        assert polling.gone == [], "its look is still under way"
        driver.gate.set()
        await empty.breathe()
        empty.clock.advance(REST_SECONDS)
        await until(lambda: polling.gone == [host_id])
        assert empty.listings.latest(host_id) is None
        await polling.still(1)


async def test_polling_rests_once_the_last_host_is_gone(empty: World) -> None:
    for name in ("alpha", "beta"):
        await empty.add_host(name)
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1, "alpha")
        await polling.looked(1, "beta")
        await polling.removed("alpha", gone=1)
        assert "poll rests" not in polling.told
        await polling.removed("beta", gone=2)
        last = [one for one in polling.told if one.startswith("poll")][-1]
        assert last == "poll rests", "a pass told later would look like a stall"


async def test_one_removed_and_added_anew_is_another(empty: World) -> None:
    first = await empty.add_host("alpha")
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1)
        await empty.services.hosts.remove("alpha", INTENT)
        second = await empty.add_host("alpha")
        second.host.host_uuid = first.host.host_uuid
        polling.poller.wake(second.host.host_id)
        await polling.looked(2)
        empty.clock.advance(EVERY)
        await empty.breathe()
        empty.clock.advance(REST_SECONDS)
        await until(lambda: polling.gone == [first.host.host_id])
        assert (await empty.host()).health is HostHealth.UP


async def test_a_bug_parks_its_host_with_evidence_and_hints_do_not_wake_it(empty: World) -> None:
    class Buggy(FakeDriver):
        async def inventory(self) -> Inventory:
            await super().inventory()
            raise ZeroDivisionError("boom")

    empty.make_driver = Buggy
    broken = await empty.add_host("alpha")
    empty.make_driver = FakeDriver
    await empty.add_host("beta")
    polling = Polling(empty)
    async with polling.running():
        await polling.looked(1, "beta")
        await until(lambda: polling.parked == 1)
        for _ in range(5):
            polling.poller.hint(broken.host.host_id)
        empty.clock.advance(REST_SECONDS)
        await empty.breathe()
        assert broken.calls["inventory"] == 1
        empty.clock.advance(EVERY)
        await polling.looked(2, "beta")
        (event,) = (await empty.events(kind="host.parked"))[:1]
        assert event.host_id == broken.host.host_id
        assert event.reason_code == "internal_error"
        assert "ZeroDivisionError: boom" in str(event.evidence["traceback"])


async def test_a_fault_after_a_look_parks_and_is_forgotten_by_the_next_good_one(
    empty: World,
) -> None:
    driver = await empty.add_host("alpha")
    polling = Polling(empty)
    polling.failures = [Unavailable("the disk is busy")]
    async with polling.running():
        await polling.looked(1)
        empty.clock.advance(REST_SECONDS)
        await empty.breathe()
        empty.clock.advance(1.0)
        await polling.looked(2)
        polling.poller.hint(driver.host.host_id)
        empty.clock.advance(REST_SECONDS)
        await polling.looked(3)
        assert polling.parked == 0


async def test_beginning_to_poll_needs_a_running_poller(empty: World) -> None:
    with pytest.raises(RuntimeError, match="only while it runs"):
        Polling(empty).poller._begin("HST-1")
