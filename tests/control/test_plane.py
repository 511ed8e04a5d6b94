"""All loops at once, as the daemon runs them, on hosts in memory and a clock in hand."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scheduler.control.loop import Loop
from scheduler.control.pace import Pace
from scheduler.control.plane import ControlPlane
from scheduler.control.tally import Untold
from scheduler.errors import Conflict
from scheduler.hosts.plans import DomainPlan
from scheduler.model import (
    DomainState,
    DrainPolicy,
    HostHealth,
    HostResources,
    HostState,
    Sandbox,
    SandboxState,
    StateReason,
)
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from tests.clocks import ManualClock
from tests.control.world import IMAGE, ME, World, world
from tests.hosts.fake import FakeDriver
from tests.waits import DEADLINE_SECONDS, until

INTENT: Intent[Sandbox] = Intent(actor=ME)
HOST_INTENT: Intent[HostResources] = Intent(actor=ME)
DRAIN_INTENT: Intent[DrainStatus] = Intent(actor=ME)
ALL_LOOPS = {
    *("reap", "drain", "clock", "retention", "membership", "poll", "converge", "images"),
    "guests",
}


async def test_from_an_empty_fleet_to_a_running_sandbox_and_back(empty: World) -> None:
    driver = await empty.add_host("alpha")
    async with empty.running():
        await empty.until(lambda: is_up(empty, "alpha"))
        made = await empty.create(ttl_seconds=60)
        await empty.until_state(made.id, SandboxState.RUNNING)
        running = await empty.sandbox(made.id)
        await empty.until_state(made.id, SandboxState.DESTROYED)

    gone = await empty.sandbox(made.id)
    assert running.expires_at is not None
    assert gone.deleted_at is not None
    assert 0 <= (gone.deleted_at - running.expires_at).total_seconds() <= 2
    assert driver.host.domains == {}
    assert set(driver.host.volumes) == {IMAGE}
    await empty.assert_ledger()


async def is_up(there: World, name: str) -> bool:
    return (await there.host(name)).health is HostHealth.UP


async def test_what_was_not_settled_is_taken_up_at_the_start(there: World) -> None:
    building = await there.create()
    deleted = await there.created()
    await there.services.sandboxes.destroy(deleted.id, INTENT)
    rested = await there.created()
    async with there.running():
        await there.until_state(building.id, SandboxState.RUNNING)
        await there.until_state(deleted.id, SandboxState.DESTROYED)
        assert (await there.sandbox(rested.id)).generation == rested.generation


async def test_i9_a_daemon_that_died_in_the_middle_of_a_build_is_carried_on(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with world(tmp_path, clock) as first:
        driver = await first.add_seen_host("alpha")
        driver.gate = asyncio.Event()
        made = await first.create()
        plane = first.plane()
        loops = asyncio.create_task(plane.run())
        await until(lambda: driver.calls["domain"] == 1)
        driver.gate.set()
        await until(lambda: driver.calls["define"] == 1)
        loops.cancel()
        with suppress(asyncio.CancelledError):
            await loops
    async with world(tmp_path, clock) as second:
        second.drivers.by_host[driver.host.host_id] = driver
        async with second.running():
            await second.until_state(made.id, SandboxState.RUNNING)
        assert len(driver.host.domains) == 1
        assert len(driver.host.volumes) == 3
        await second.assert_ledger()


async def test_i8_a_hung_host_holds_up_nobody_elses_build_or_end(empty: World) -> None:
    await empty.add_seen_host("alpha")
    hung = await empty.add_seen_host("beta")
    stuck = await empty.created(host="beta", ttl_seconds=60)
    hung.gate = asyncio.Event()
    async with empty.running():
        made = await empty.create(host="alpha", ttl_seconds=30)
        await empty.until_state(made.id, SandboxState.RUNNING)
        await empty.until_state(made.id, SandboxState.DESTROYED)
        await empty.until(lambda: is_wished_gone(empty, stuck.id))
        assert (await empty.sandbox(stuck.id)).live
        hung.gate.set()
        await empty.until_state(stuck.id, SandboxState.DESTROYED)


async def is_wished_gone(there: World, sandbox_id: str) -> bool:
    return (await there.sandbox(sandbox_id)).desired_state.value == "DESTROYED"


async def test_a_hint_makes_an_ended_guest_known_before_the_next_poll(there: World) -> None:
    made = await there.created()
    async with there.running(poll_seconds=100_000.0) as plane:
        await there.breathe()
        domain = there.domain_of(made)
        domain.state, domain.reason = DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN
        plane.hint_host(made.host_id or "")
        await there.until_state(made.id, SandboxState.STOPPED)


async def test_a_drain_goes_to_its_end_and_the_fleet_knows(there: World) -> None:
    made = [await there.created() for _ in range(3)]
    async with there.running():
        await there.services.drains.drain(
            "alpha", DrainHost(policy=DrainPolicy.DESTROY), DRAIN_INTENT
        )
        await there.until(lambda: is_drained(there))
        await there.until(lambda: is_known_to_be_drained(there))
    states = {(await there.sandbox(one.id)).state for one in made}
    assert states == {SandboxState.DESTROYED}
    await there.assert_ledger()


async def is_drained(there: World) -> bool:
    return (await there.host()).state is HostState.DRAINED


async def is_known_to_be_drained(there: World) -> bool:
    (host,) = there.fleet.hosts()
    return host.state is HostState.DRAINED and host.reserved_cpus == 0


async def test_the_fleet_in_memory_never_drifts_from_the_ledger(there: World) -> None:
    await there.add_seen_host("beta")
    async with there.running(poll_seconds=0.5):
        made: list[Sandbox] = []
        for number in range(12):
            made.append(await there.create())
            if number % 3 == 2:
                await there.services.sandboxes.destroy(made[number - 1].id, INTENT)
        for number, one in enumerate(made):
            end = SandboxState.DESTROYED if number % 3 == 1 else SandboxState.RUNNING
            await there.until_state(one.id, end)
        await there.until(lambda: agree(there))
    await there.assert_ledger()


async def agree(there: World) -> bool:
    stored = await there.store.read(lambda tx: tx.hosts.all())
    inside = {host.id: host.reserved for host in there.fleet.hosts()}
    return all(inside[host.id] == host.reserved for host in stored)


async def test_a_bug_on_one_sandbox_parks_that_and_no_other(empty: World) -> None:
    class Buggy(FakeDriver):
        async def define(self, plan: DomainPlan) -> None:
            if plan.name == "cursed":
                raise ZeroDivisionError("boom")
            await super().define(plan)

    empty.make_driver = Buggy
    await empty.add_seen_host("alpha")
    async with empty.running() as plane:
        cursed = await empty.create(sandbox_name="cursed")
        blessed = await empty.create(sandbox_name="blessed")
        await empty.until_state(blessed.id, SandboxState.RUNNING)
        await empty.until(lambda: is_parked(empty, cursed.id))
        assert plane.workers.parking.failures(cursed.id) >= 1
        assert plane.workers.parking.failures(blessed.id) == 0
    (told, *_) = await empty.events(kind="sandbox.parked", sandbox_id=cursed.id)
    assert "ZeroDivisionError: boom" in str(told.evidence["traceback"])
    assert (await empty.sandbox(cursed.id)).state is SandboxState.CREATED


async def is_parked(there: World, sandbox_id: str) -> bool:
    return bool(await there.events(kind="sandbox.parked", sandbox_id=sandbox_id))


class Broken(Untold):
    """A tally with a bug in it, which every loop meets."""

    def passed(self, loop: str, _seconds: float, /) -> None:
        if loop == "reap":
            raise ZeroDivisionError("boom")


async def test_a_bug_in_a_loop_ends_them_all(there: World) -> None:
    plane = ControlPlane(
        store=there.store,
        clock=there.clock,
        drivers=there.drivers,
        fleet=there.fleet,
        journal=there.journal,
        pace=Pace(),
        shelf=there.shelf,
        guests=there.guests,
        tally=Broken(),
    )
    with pytest.raises(ExceptionGroup) as ended:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await plane.run()
    assert ended.group_contains(ZeroDivisionError, match="boom")


async def test_stopping_finishes_the_step_that_was_begun_and_no_other(there: World) -> None:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    made = await there.create()
    driver.gate = asyncio.Event()
    plane = there.plane()
    loops = asyncio.create_task(plane.run())
    await until(lambda: driver.calls["inventory"] == 2 and driver.calls["domain"] == 1)
    plane.stop()
    await there.breathe()
    assert not loops.done()
    driver.gate.set()
    await there.ended(loops)
    assert driver.calls["start"] <= 1
    async with there.running():
        await there.until_state(made.id, SandboxState.RUNNING)
    assert len(driver.host.domains) == 1


async def test_a_host_that_was_removed_is_parted_from(there: World) -> None:
    host = await there.host()
    async with there.running(poll_seconds=1.0) as plane:
        # One that goes before it was ever looked at is not parted from.
        await until(lambda: is_polling(plane))
        await there.services.hosts.remove("alpha", HOST_INTENT)

        async def parted() -> bool:
            return there.drivers.forgotten == [host.id]

        await there.until(parted)
        assert list(there.fleet.hosts()) == []


async def test_a_parting_that_fails_is_only_logged(there: World) -> None:
    async def forget(host_id: str) -> None:
        raise ZeroDivisionError(host_id)

    async def logged() -> bool:
        return any(one["event"] == "connections not closed" for one in logs)

    there.drivers.forget = forget  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with there.running(poll_seconds=1.0) as plane:
            await until(lambda: is_polling(plane))
            await there.services.hosts.remove("alpha", HOST_INTENT)
            await there.until(lambda: no_hosts(there))
            await there.until(logged)
            assert not await is_parting(plane)
            await there.add_host("beta")
            await there.until(lambda: is_up(there, "beta"))
    assert [one["host"] for one in logs if one["event"] == "connections not closed"]


async def test_no_loop_turns_without_a_pause(there: World) -> None:
    async with there.running() as plane:
        # Time stands still, so that each has taken one turn and has none due.
        await until(lambda: is_polling(plane) and not any(at_work(one) for one in plane._loops))
        now = there.clock.monotonic()
        pauses = {loop.name: loop.turn.due_at - now for loop in plane._loops}
    assert pauses.keys() >= {"guests", "reap", "clock"}
    assert min(pauses.values()) > 0, pauses


async def test_stopping_waits_for_a_parting_under_way(there: World) -> None:
    gate = asyncio.Event()

    async def forget(host_id: str) -> None:
        await gate.wait()

    there.drivers.forget = forget  # type: ignore[method-assign]
    plane = there.plane(poll_seconds=1.0)
    loops = asyncio.create_task(plane.run())
    await until(lambda: is_polling(plane))
    await there.services.hosts.remove("alpha", HOST_INTENT)
    await there.until(lambda: is_parting(plane))
    plane.stop()
    for _ in range(5):
        there.clock.advance(1)
        await there.breathe()
    assert not loops.done()
    gate.set()
    await there.ended(loops)


def is_polling(plane: ControlPlane) -> bool:
    return any(turn.name == "poll" for turn in plane.poller.turns())


def at_work(loop: Loop) -> bool:
    return loop.turn.working_since is not None


async def is_parting(plane: ControlPlane) -> bool:
    return bool(plane.partings)


async def no_hosts(there: World) -> bool:
    return not await there.store.read(lambda tx: tx.hosts.all())


async def test_an_end_that_comes_nearer_wakes_the_reaper(there: World) -> None:
    made = await there.created(ttl_seconds=10_000)
    async with there.running() as plane:
        await there.breathe()
        await there.change(made.id, expires_at=there.clock.now())
        plane.wake_sandbox(made.id)
        await there.until_state(made.id, SandboxState.DESTROYED)


async def test_nothing_is_kept_of_what_is_gone(there: World) -> None:
    async with there.running() as plane:
        for _ in range(3):
            made = await there.create()
            await there.until_state(made.id, SandboxState.RUNNING)
            await there.services.sandboxes.destroy(made.id, INTENT)
            await there.until_state(made.id, SandboxState.DESTROYED)
        # Who has destroyed the last one is about to end.
        await until(lambda: len(plane.workers) == 0)
        assert len(plane.workers.parking) == 0
        assert len(plane.listings) == 0


async def test_every_loop_says_where_in_its_turn_it_is(there: World, driver: FakeDriver) -> None:
    driver.gates["define"] = asyncio.Event()
    await there.create()
    async with there.running() as plane:
        await until(lambda: driver.calls["define"] == 1 and is_polling(plane))
        assert {turn.name for turn in plane.turns()} == ALL_LOOPS
        now = there.clock.monotonic()
        assert all(turn.overdue_seconds(now) <= 0 for turn in plane.turns())
        driver.gates.pop("define").set()
    much_later = there.clock.monotonic() + 1e6
    assert all(turn.overdue_seconds(much_later) < 0 for turn in plane.turns())


async def test_a_stop_taken_back_while_the_loops_run_is_followed(there: World) -> None:
    made = await there.created()
    async with there.running():
        await there.services.sandboxes.stop(made.id, INTENT)
        with suppress(Conflict):
            await there.services.sandboxes.start(made.id, INTENT)
        await there.until(lambda: rests(there, made.id))
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING
    assert there.domain_of(made).state is DomainState.RUNNING


async def rests(there: World, sandbox_id: str) -> bool:
    sandbox = await there.sandbox(sandbox_id)
    return sandbox.state is SandboxState.RUNNING and sandbox.phase is None
