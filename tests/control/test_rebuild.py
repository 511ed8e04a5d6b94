"""A database is lost with everything in it: nothing is destroyed, and everything comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.lifecycle.orphans import MIN_AGE_SECONDS
from scheduler.model import DomainState, Sandbox, SandboxState
from scheduler.service.intents import Intent
from scheduler.service.rebuilds import RebuildReport
from scheduler.service.requests import AdoptOrphan, Because, ForgetSandbox, RebuildFleet
from scheduler.service.services import Services
from tests.clocks import ManualClock
from tests.control.trust import trusting
from tests.control.world import ME, World, world
from tests.hosts.fake import FakeDomain, FakeDriver, FakeHost

NAMES = ("alpha", "beta")
INTENT: Intent[Sandbox] = Intent(actor=ME)
REBUILD: Intent[RebuildReport] = Intent(actor=ME)


@dataclass
class Disaster:
    """The hosts as a lost database left them, and who was on them."""

    directory: Path
    clock: ManualClock
    hosts: dict[str, FakeHost]
    boxes: dict[str, Sandbox]

    @asynccontextmanager
    async def new_world(self) -> AsyncIterator[World]:
        """A daemon with an empty database, the old key, and the old hosts under new ids."""
        (self.directory / "state.db").unlink(missing_ok=True)
        for suffix in ("-wal", "-shm"):
            (self.directory / f"state.db{suffix}").unlink(missing_ok=True)
        async with world(self.directory, self.clock) as there:
            for name, old in self.hosts.items():
                driver = await there.add_host(name)
                fake = driver.host
                fake.host_uuid, fake.domains, fake.volumes = old.host_uuid, old.domains, old.volumes
            yield there

    def picture(self) -> object:
        """Everything on every host, to be compared."""
        return deepcopy({name: (h.domains, h.volumes) for name, h in self.hosts.items()})


@pytest.fixture
async def disaster(tmp_path: Path, clock: ManualClock) -> Disaster:
    """Two hosts with a running, a stopped and a paused sandbox, a stranger's domain and volume."""
    async with world(tmp_path, clock) as there:
        hosts = {name: (await there.add_seen_host(name)).host for name in NAMES}
        running = await there.created(
            host="alpha", sandbox_name="runs", ttl_seconds=7200, anti_affinity_group="db"
        )
        stopped = await there.created(
            SandboxState.STOPPED, host="beta", sandbox_name="stopped", auto_start=False
        )
        paused = await there.created(host="beta", sandbox_name="paused", labels={"team": "a"})
        there.domain_of(paused).state = DomainState.PAUSED
    hosts["alpha"].domains["foreign"] = FakeDomain(
        uuid="foreign", name="sbx-not-ours", state=DomainState.RUNNING
    )
    hosts["beta"].add_image("sbx-precious.img")
    boxes = {box.sandbox_name: box for box in (running, stopped, paused)}
    return Disaster(directory=tmp_path, clock=clock, hosts=hosts, boxes=boxes)


async def seen(there: World) -> Services:
    """Look at every host twice, and return services that know what was seen."""
    for name in NAMES * 2:
        await there.look(name)
    return trusting(there)


async def test_an_empty_database_destroys_nothing(disaster: Disaster) -> None:
    before = disaster.picture()
    async with disaster.new_world() as there:
        drivers = [d for d in there.drivers.by_host.values() if isinstance(d, FakeDriver)]
        async with there.running():
            for looks in range(2, 6):
                disaster.clock.advance(MIN_AGE_SECONDS)
                await there.until(partial(_looked_at, drivers, looks), what=f"{looks} looks")
        told = [event.reason_code for event in await there.events(kind="host.orphan")]
    assert sorted(map(str, told)) == ["no_record"] * 3 + ["unlisted_volume"]
    assert disaster.picture() == before
    changing = {"define", "start", "shutdown", "power_off", "undefine", "delete_volume"}
    assert not any(driver.calls[verb] for driver in drivers for verb in changing)


async def _looked_at(drivers: list[FakeDriver], looks: int) -> bool:
    return all(driver.calls["inventory"] >= looks for driver in drivers)


async def test_i10_a_lease_rebuilt_between_a_step_and_its_shift_is_whole(
    disaster: Disaster,
) -> None:
    async with disaster.new_world() as there:
        guard = ClockGuard(there.store, disaster.clock)
        await guard.watch()
        services = await seen(there)
        disaster.clock.set_wall(-7000)
        await services.rebuilds.rebuild(RebuildFleet(), REBUILD)
        await guard.watch()
        runs = await there.sandbox(disaster.boxes["runs"].id)
        assert runs.expires_at is not None
        left = (runs.expires_at - disaster.clock.now()).total_seconds()
        assert 7190 < left <= 7200


async def test_every_sandbox_comes_back_as_it_was_and_can_then_be_destroyed(
    disaster: Disaster,
) -> None:
    async with disaster.new_world() as there:
        services = await seen(there)
        report = await services.rebuilds.rebuild(RebuildFleet(reason="disk died"), REBUILD)
        assert report.complete, report
        for name, lost in disaster.boxes.items():
            await there.settle(lost.id)
            back = await there.sandbox(lost.id)
            assert (back.sandbox_name, back.state) == (name, _after(name, lost))
            assert (back.mac, back.domain_uuid, back.labels) == (
                lost.mac,
                lost.domain_uuid,
                lost.labels,
            )
            assert back.base_fingerprint == lost.base_fingerprint
        runs = await there.sandbox(disaster.boxes["runs"].id)
        assert runs.ip_address == disaster.boxes["runs"].ip_address
        (claim,) = await there.allocations(runs.id)
        assert claim.anti_affinity_group == "db"
        await there.assert_ledger()

        for box in disaster.boxes.values():
            await there.services.sandboxes.destroy(box.id, INTENT)
            await there.settle(box.id)
            assert not (await there.sandbox(box.id)).live
        await there.assert_ledger()
    assert set(disaster.hosts["alpha"].domains) == {"foreign"}
    assert set(disaster.hosts["alpha"].volumes) == {"golden.qcow2"}
    assert disaster.hosts["beta"].domains == {}
    assert set(disaster.hosts["beta"].volumes) == {"golden.qcow2", "sbx-precious.img"}


def _after(name: str, lost: Sandbox) -> SandboxState:
    # Its address was never told to the new database, and a paused guest answers nobody.
    return SandboxState.STARTING if name == "paused" else lost.state


async def test_a_rebuilt_sandbox_can_be_stopped_and_started(disaster: Disaster) -> None:
    async with disaster.new_world() as there:
        services = await seen(there)
        await services.rebuilds.rebuild(RebuildFleet(), REBUILD)
        box = disaster.boxes["stopped"]
        await there.services.sandboxes.start(box.id, INTENT)
        await there.settle(box.id)
        assert (await there.sandbox(box.id)).state is SandboxState.RUNNING


async def test_the_room_of_what_runs_is_never_given_away(disaster: Disaster) -> None:
    """I1 across the loss: what runs without a record counts as somebody else's use."""
    async with disaster.new_world() as there:
        for driver in there.drivers.by_host.values():
            assert isinstance(driver, FakeDriver)
            driver.host.cpus = 2
        services = await seen(there)
        rooms = {name: (await there.host(name)).limit_cpus for name in NAMES}
        assert rooms == {"alpha": 0, "beta": 1}, "one lost runs on each, a stranger on alpha"
        report = await services.rebuilds.rebuild(RebuildFleet(), REBUILD)
        assert report.complete
        for look in (False, True):
            for name in NAMES:
                host = (await there.look(name)).host if look else await there.host(name)
                room = {"alpha": (1, 1), "beta": (2, 2)}[name]
                assert (host.limit_cpus, host.reserved_cpus) == room, name


async def test_one_adopted_one_reaped(disaster: Disaster) -> None:
    async with disaster.new_world() as there:
        services = await seen(there)
        keep, drop = disaster.boxes["runs"], disaster.boxes["stopped"]
        adopt = AdoptOrphan(reason="mine")
        await services.orphans.adopt("alpha", keep.domain_uuid or "", adopt, INTENT)
        await services.orphans.reap("beta", drop.domain_uuid or "", Because(), INTENT)
        for box in (keep, drop):
            await there.settle(box.id)
        assert (await there.sandbox(keep.id)).state is SandboxState.RUNNING
        assert (await there.sandbox(drop.id)).state is SandboxState.DESTROYED
    assert drop.domain_uuid not in disaster.hosts["beta"].domains
    assert f"{drop.id.lower()}.qcow2" not in disaster.hosts["beta"].volumes


async def test_a_forgotten_sandbox_that_reappears_is_removed_with_its_volumes(
    there: World,
) -> None:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    made = await there.created()
    driver.reachable = False
    there.clock.advance(31)
    for _ in range(4):
        await there.look()
    services = trusting(there)
    await services.forgetting.forget(made.id, ForgetSandbox(reason="burned"), INTENT)
    await there.assert_ledger()
    driver.reachable = True

    async def gone() -> bool:
        return not driver.host.domains

    async with there.running():
        for _ in range(8):
            await there.breathe()
        assert driver.host.domains, "two sightings and some age come first"
        there.clock.advance(MIN_AGE_SECONDS)
        await there.until(gone, what="the remains removed")
    assert set(driver.host.volumes) == {"golden.qcow2"}
    codes = [event.reason_code for event in await there.events(kind="host.orphan")]
    assert codes == ["reappeared", "removed"]


async def test_a_mark_copied_to_another_domain_is_never_rebuilt(disaster: Disaster) -> None:
    victim = next(iter(disaster.hosts["alpha"].domains.values()))
    thief = replace(victim, uuid="11111111-2222-4333-8444-555555555555", name="thief")
    disaster.hosts["alpha"].domains[thief.uuid] = thief
    async with disaster.new_world() as there:
        services = await seen(there)
        report = await services.rebuilds.rebuild(RebuildFleet(), REBUILD)
        assert thief.uuid not in {one.domain_uuid for one in report.sandboxes}
        (forged,) = [o for o in await services.orphans.find() if o.code == "forged_mark"]
        assert (forged.domain_uuid, forged.verbs) == (thief.uuid, ())
