"""One row that cannot be read costs what it is about, and nobody else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.control.loop import Loop
from scheduler.control.reaper import Reaper
from scheduler.diagnosis.checks import Check, Verdict
from scheduler.errors import CapacityExhausted, Unreadable
from scheduler.model import (
    AddressReport,
    DesiredState,
    IpSource,
    Resources,
    Sandbox,
    SandboxState,
)
from scheduler.placement.demand import Demand
from scheduler.service.intents import Intent
from scheduler.store import HostFilter, ListOptions, SandboxFilter
from scheduler.validation.hosts import AddHost
from tests.clocks import ManualClock
from tests.control.imagery import Imagery, content
from tests.control.world import IMAGE, ME, World, world
from tests.hosts.fake import FakeDriver
from tests.waits import until_answer

_OF_THE_GROUP = Demand(
    resources=Resources(vcpus=1, memory_mb=1, storage_mb=1), image=IMAGE, anti_affinity_group="db"
)
FAULTS = ["conditions = '{'", "state = 'HIBERNATED'", "created_at = 4611686018427387904"]


def damage(there: World, table: str, change: str, id: str) -> None:
    path = there.store.config.sqlite_path
    with closing(sqlite3.connect(str(path), timeout=60)) as database, database:
        database.execute(f"UPDATE {table} SET {change} WHERE id = ?", (id,))


async def unreadable(there: World) -> tuple[str, ...]:
    found = await there.store.read(lambda tx: tx.unreadable())
    return tuple("/".join(map(str, one.key)) for one in found)


async def records(there: World) -> Check:
    report = await there.services.doctor.examine()
    (check,) = (check for check in report.checks if check.name == "records")
    return check


async def wanted(there: World, box: Sandbox) -> DesiredState:
    return (await there.sandbox(box.id)).desired_state


@pytest.mark.parametrize("fault", FAULTS)
async def test_leases_of_all_others_end_in_time(there: World, fault: str) -> None:
    bad = await there.created(ttl_seconds=60)
    good, later = await there.created(ttl_seconds=60), await there.created(ttl_seconds=90)
    damage(there, "sandboxes", fault, bad.id)
    there.clock.advance(61)
    reaper = Reaper(
        there.store,
        there.clock,
        stopped_retention_seconds=1,
        wake=lambda _: None,
        count=lambda _: None,
    )
    assert await reaper.reap() == 0.0
    assert await wanted(there, good) is DesiredState.DESTROYED
    assert 0.0 < (await reaper.reap() or 0.0) <= 30.0, "what cannot be ended is not waited for"
    there.clock.advance(30)
    await reaper.reap()
    assert await wanted(there, later) is DesiredState.DESTROYED
    assert await unreadable(there) == (bad.id,)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_daemon_goes_on_and_the_domain_is_left_alone(there: World, fault: str) -> None:
    bad, good = await there.created(), await there.created()
    damage(there, "sandboxes", fault, bad.id)
    (driver,) = there.drivers.by_host.values()
    domains = {domain.uuid for domain in (await driver.inventory()).domains}
    host = await there.host()
    async with there.running():
        await there.services.sandboxes.destroy(good.id, Intent(actor=ME))

        async def gone() -> bool:
            return (await there.sandbox(good.id)).state is SandboxState.DESTROYED

        await there.until(gone, what="the end of the other one")
        looked_at = there.clock.now()

        async def seen() -> bool:
            return ((await there.host()).observed_at or looked_at) > looked_at

        for _ in range(3):
            await there.until(seen, what="another look")
            looked_at = there.clock.now()
    there_now = {domain.uuid for domain in (await driver.inventory()).domains}
    assert there_now == domains - {good.domain_uuid}
    assert await there.events(kind="host.orphan") == []
    after = await there.host()
    assert (after.unmanaged_cpus, after.unmanaged_memory_mb) == (
        host.unmanaged_cpus,
        host.unmanaged_memory_mb,
    ), "what it holds is charged once"
    assert after.reserved_cpus == bad.vcpus, "and stays so"
    with pytest.raises(Unreadable):
        await there.sandbox(bad.id)


async def test_it_is_told_once_and_by_the_doctor_until_it_is_mended(
    there: World, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = await there.create()
    assert (await records(there)).verdict is Verdict.OK
    damage(there, "sandboxes", "phase = 'DREAMING'", bad.id)
    for _ in range(3):
        await there.store.read(lambda tx: tx.sandboxes.unsettled())
    assert capsys.readouterr().out.count("unreadable row") == 1
    check = await records(there)
    assert check.verdict is Verdict.FAILED
    assert bad.id in check.message
    assert "DREAMING" in check.message
    damage(there, "sandboxes", "phase = NULL", bad.id)
    assert (await records(there)).verdict is Verdict.OK


async def test_a_host_that_cannot_be_read_takes_no_part(there: World) -> None:
    await there.add_seen_host("beta")
    beta = await there.store.read(lambda tx: tx.hosts.by_name("beta"))
    damage(there, "hosts", "breakers = '{'", beta.id)
    wishes = [
        AddHost(name=name, transport="test", uri="test:///default", ratio_cpu=1.0)
        for name in ("alpha", "beta")
    ]
    ensured = await there.services.hosts.ensure_from_file(wishes)
    assert [host.name for host in ensured] == ["alpha"]
    await there.fleet.load()
    assert [host.name for host in there.fleet.hosts()] == ["alpha"]
    async with there.running():
        made = await there.create()

        async def up() -> bool:
            return (await there.sandbox(made.id)).state is SandboxState.RUNNING

        await there.until(up, what="a sandbox on the other one")


async def test_a_host_that_is_mended_is_met_again_with_its_groups(there: World) -> None:
    """Else creations of the group would be placed there first, and refused by the store."""
    await there.created(anti_affinity_group="db")
    alpha = await there.host()
    async with there.running():

        async def polled() -> bool:
            return (await there.host()).observed_at != alpha.observed_at

        await there.until(polled, what="a look")
        damage(there, "hosts", "breakers = '{'", alpha.id)

        async def dropped() -> bool:
            return not there.fleet.hosts()

        await there.until(dropped, what="its leaving")
        damage(there, "hosts", "breakers = '[]'", alpha.id)

        async def met() -> bool:
            return bool(there.fleet.hosts())

        await there.until(met, what="its coming back")
        choice = there.fleet.explain(_OF_THE_GROUP).choice
        assert choice.refusals == {"anti_affinity": 1}


async def test_the_fleet_is_placed_on_beside_a_claim_that_cannot_be_read(there: World) -> None:
    """Its group is a plain column, and the store has the last word on room."""
    made = await there.created(anti_affinity_group="db")
    path = there.store.config.sqlite_path
    with closing(sqlite3.connect(str(path), timeout=60)) as database, database:
        database.execute("UPDATE allocations SET state = 'lent'")
    await there.fleet.load()
    with pytest.raises(CapacityExhausted):
        await there.create(anti_affinity_group="db")
    assert (await there.create()).host_id == made.host_id


async def test_builds_from_all_other_images_go_on(there: World) -> None:
    imagery = Imagery(there)
    good, other = await imagery.ready("good"), await imagery.ready("other", content(17))
    await imagery.prefetch(good)
    while await imagery.replicate(good) is not None:
        pass
    damage(there, "images", "state = 'LENT'", other.id)
    box = await there.create(base_image="good", storage_mb=64)
    await there.settle(box.id)
    assert (await there.sandbox(box.id)).state is SandboxState.RUNNING
    await imagery.ready("third", content(18))


async def test_a_build_from_the_image_itself_waits(there: World) -> None:
    """It must not be built upon whatever is called so on the host, as after a rebuild."""
    image = await Imagery(there).ready("good")
    box = await there.create(base_image="good", storage_mb=64)
    damage(there, "images", "updated_at = 4611686018427387904", image.id)
    host = await there.host()
    with pytest.raises(Unreadable, match=image.id):
        await there.replicas.wanted_for(box, host)


class ByAgent(FakeDriver):
    """A host of a bridged network: guests name their addresses themselves."""

    def _addresses(self, uuid: str, mac: str) -> AddressReport:
        said = super()._addresses(uuid, mac)
        return replace(said, source=None if said.address is None else IpSource.AGENT)


async def test_addresses_of_all_others_are_found(tmp_path: Path, clock: ManualClock) -> None:
    async with world(tmp_path, clock, make_driver=ByAgent) as there:
        await there.add_seen_host()
        bad, good = await there.created(), await there.create()
        damage(there, "sandboxes", "conditions = '{'", bad.id)
        await there.settle(good.id)
        good = await there.sandbox(good.id)
        assert (good.state, good.ip_source) == (SandboxState.RUNNING, IpSource.AGENT)
        claim = AddressReport(address=bad.ip_address, source=IpSource.AGENT)
        with pytest.raises(Unreadable, match=bad.id):
            await there.records.holder_of_address(good, claim)


async def test_a_pool_that_the_file_changes_is_kept_and_the_daemon_starts(there: World) -> None:
    """Nobody can tell whether what the row holds is on the old one."""
    await there.created()
    path = there.store.config.sqlite_path
    with closing(sqlite3.connect(str(path), timeout=60)) as database, database:
        database.execute("UPDATE allocations SET state = 'lent'")
    wish = AddHost(name="alpha", transport="test", uri="test:///default", pool="other")
    (host,) = await there.services.hosts.ensure_from_file([wish])
    assert host.pool == "default"
    (kept,) = await there.events(kind="host.pool_kept")
    assert "allocations cannot be read" in kept.message


async def test_lists_have_all_others(there: World) -> None:
    bad, good = await there.created(sandbox_name="bad"), await there.created(sandbox_name="good")
    await there.add_seen_host("beta")
    beta = await there.host("beta")
    damage(there, "sandboxes", "conditions = '{'", bad.id)
    damage(there, "hosts", "breakers = '{'", beta.id)
    sandboxes, hosts = there.services.sandboxes, there.services.hosts
    boxes = await sandboxes.find(SandboxFilter(), ListOptions())
    assert [box.id for box in boxes.items] == [good.id]
    assert [one.name for one in (await hosts.find(HostFilter(), ListOptions())).items] == ["alpha"]
    assert set(await unreadable(there)) == {bad.id, beta.id}


async def test_a_name_or_a_beginning_of_an_id_never_becomes_anothers(there: World) -> None:
    bad, good = await there.created(sandbox_name="bad"), await there.created(sandbox_name="good")
    damage(there, "sandboxes", "conditions = '{'", bad.id)
    find = there.services.sandboxes.find
    for wanted in (SandboxFilter(id_prefix="SBX-"), SandboxFilter(vm_name="bad")):
        with pytest.raises(Unreadable, match=bad.id):
            await find(wanted, ListOptions())
    whole = await find(SandboxFilter(id_prefix=good.id), ListOptions())
    assert [box.id for box in whole.items] == [good.id]


async def test_a_step_of_the_clock_moves_all_others(there: World) -> None:
    made = await there.created(ttl_seconds=600)
    await there.add_seen_host("beta")
    beta = await there.store.read(lambda tx: tx.hosts.by_name("beta"))
    guard = ClockGuard(there.store, there.clock)
    await guard.watch()
    damage(there, "hosts", "breakers = '{'", beta.id)
    there.clock.set_wall(3600.0)
    await guard.watch()
    moved = (await there.sandbox(made.id)).expires_at
    assert made.expires_at is not None
    assert moved == made.expires_at + timedelta(hours=1)


async def test_a_pass_that_needs_the_row_is_put_off_and_the_daemon_goes_on() -> None:
    clock, passes = ManualClock(), 0

    async def work() -> float | None:
        nonlocal passes
        passes += 1
        raise Unreadable("row 1 of drains cannot be read", key=(1,))

    loop = Loop("drain", work, every=60.0, limit=None, clock=clock)
    await _turned(loop, clock, lambda: passes)
    assert passes >= 2


async def _turned(loop: Loop, clock: ManualClock, passes: Callable[[], int]) -> None:
    running = asyncio.create_task(loop.run())

    async def twice() -> bool:
        clock.advance(60.0)
        return running.done() or passes() >= 2

    await until_answer(twice)
    loop.stop()
    await running
