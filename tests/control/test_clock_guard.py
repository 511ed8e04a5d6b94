"""Steps of the wall clock move every recorded end, and none is ever early (I10)."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.control.drainer import Drainer
from scheduler.control.effects import overlay_name, seed_name
from scheduler.control.reaper import Reaper
from scheduler.errors import Unavailable
from scheduler.model import (
    DesiredState,
    DrainPolicy,
    Phase,
    Sandbox,
    SandboxState,
    Volume,
    VolumeRole,
)
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from scheduler.service.lease_time import lease_time
from scheduler.service.requests import DrainHost
from scheduler.store import Unit
from tests.clocks import ManualClock
from tests.control.world import ME, World

T = TypeVar("T")

HOUR = 3600


def guard_of(world: World) -> ClockGuard:
    return ClockGuard(world.store, world.clock)


def reaper_of(world: World) -> Reaper:
    return Reaper(
        world.store,
        world.clock,
        stopped_retention_seconds=60,
        wake=lambda _: None,
        count=lambda _: None,
    )


async def leased(world: World, ttl_seconds: int = 600) -> Sandbox:
    return await world.created(ttl_seconds=ttl_seconds)


async def ends_after(seconds: int, there: World, reaper: Reaper, sandbox_id: str) -> None:
    """Assert that a lease lasts so long from now, and not a second longer."""
    there.clock.advance(seconds - 1)
    await reaper.reap()
    assert (await there.sandbox(sandbox_id)).desired_state is DesiredState.RUNNING
    there.clock.advance(1)
    await reaper.reap()
    assert (await there.sandbox(sandbox_id)).desired_state is DesiredState.DESTROYED


@pytest.mark.parametrize("step", [HOUR, -HOUR, 1, -1])
async def test_i10_a_step_shifts_every_lease_and_is_told(there: World, step: int) -> None:
    guard = guard_of(there)
    await guard.watch()
    made = [await leased(there) for _ in range(3)]
    there.clock.set_wall(step)
    await guard.watch()
    await guard.watch()

    for before in made:
        after = await there.sandbox(before.id)
        assert before.expires_at is not None
        assert after.expires_at is not None
        assert (after.expires_at - before.expires_at).total_seconds() == step
    (event,) = await there.events(kind="clock.stepped")
    assert event.reason_code == "clock_stepped"
    assert event.evidence == {"seconds": step, "leases": 3}


async def test_noise_and_the_passing_of_time_are_no_step(there: World) -> None:
    guard = guard_of(there)
    await guard.watch()
    made = await leased(there)
    there.clock.set_wall(0.3)
    there.clock.advance(HOUR)
    await guard.watch()
    assert (await there.sandbox(made.id)).expires_at == made.expires_at
    assert await there.events(kind="clock.stepped") == []


async def test_i10_a_restart_within_one_boot_sees_what_happened_meanwhile(there: World) -> None:
    await guard_of(there).watch()
    made = await leased(there)
    there.clock.advance(30)
    there.clock.set_wall(HOUR)
    await guard_of(there).watch()

    after = await there.sandbox(made.id)
    assert made.expires_at is not None
    assert after.expires_at is not None
    assert (after.expires_at - made.expires_at).total_seconds() == HOUR


async def test_i10_across_a_reboot_the_wall_clock_is_trusted(there: World) -> None:
    await guard_of(there).watch()
    made = await leased(there)
    there.clock.reboot()
    there.clock.set_wall(HOUR)
    await guard_of(there).watch()
    assert (await there.sandbox(made.id)).expires_at == made.expires_at
    assert await there.events(kind="clock.stepped") == []


async def test_i10_before_the_first_look_after_a_reboot_the_wall_clock_is_trusted(
    there: World,
) -> None:
    """What the former boot wrote down looks like a step by all the time that it was up."""
    guard, reaper = guard_of(there), reaper_of(there)
    await guard.watch()
    old = await leased(there, ttl_seconds=60)
    there.clock.reboot()
    made = await there.create(ttl_seconds=600)
    assert made.queued_at == there.clock.now()
    extended = await there.services.sandboxes.extend(old.id, 600, Intent(actor=ME))
    assert extended.expires_at == there.clock.now() + timedelta(seconds=600)
    await guard_of(there).watch()
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING
    await ends_after(600, there, reaper, old.id)


async def test_i10_nothing_is_reaped_between_a_step_and_its_shift(there: World) -> None:
    guard, reaper = guard_of(there), reaper_of(there)
    await guard.watch()
    made = await leased(there)
    there.clock.set_wall(HOUR)
    pause = await reaper.reap()

    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING
    assert pause == 60.0
    await guard.watch()
    await reaper.reap()
    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING
    there.clock.advance(600)
    await reaper.reap()
    assert (await there.sandbox(made.id)).desired_state is DesiredState.DESTROYED


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_i10_a_lease_begun_between_a_step_and_its_shift_is_whole(
    there: World, step: int
) -> None:
    guard, reaper = guard_of(there), reaper_of(there)
    await guard.watch()
    made = await there.create(ttl_seconds=600)
    there.clock.set_wall(step)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING
    await guard.watch()
    await ends_after(600, there, reaper, made.id)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_i10_an_extension_between_a_step_and_its_shift_is_whole(
    there: World, step: int
) -> None:
    guard, reaper = guard_of(there), reaper_of(there)
    await guard.watch()
    made = await there.created(ttl_seconds=60)
    there.clock.set_wall(step)
    await there.services.sandboxes.extend(made.id, 600, Intent(actor=ME))
    await guard.watch()
    await ends_after(600, there, reaper, made.id)


@pytest.mark.parametrize("then", [0, -HOUR])
async def test_i10_a_step_whose_commit_was_not_answered_is_made_once(
    there: World, then: int
) -> None:
    guard, store = guard_of(there), there.store
    await guard.watch()
    made = await leased(there)
    there.clock.set_wall(HOUR)
    submit = store.submit

    async def unanswered(unit: Unit[T]) -> T:
        await submit(unit)
        raise Unavailable("the connection to the database was lost while it committed")

    store.submit = unanswered  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await guard.watch()
    store.submit = submit  # type: ignore[method-assign]
    there.clock.set_wall(then)
    for _ in range(2):
        await guard.watch()

    after = await there.sandbox(made.id)
    assert made.expires_at is not None
    assert after.expires_at is not None
    assert (after.expires_at - made.expires_at).total_seconds() == HOUR + then
    told = [event.evidence["seconds"] for event in await there.events(kind="clock.stepped")]
    assert told == [HOUR, *([then] if then else [])]


def volumes_of(sandbox: Sandbox) -> tuple[Volume, ...]:
    """Return what a build of the sandbox would list."""
    names = {overlay_name: VolumeRole.OVERLAY, seed_name: VolumeRole.SEED}
    return tuple(
        Volume(
            owner=sandbox.id,
            host_id=str(sandbox.host_id),
            pool="default",
            name=name(sandbox.id),
            role=role,
            created_at=sandbox.created_at,
        )
        for name, role in names.items()
    )


async def test_waits_of_work_under_way_move_too(there: World) -> None:
    guard = guard_of(there)
    await guard.watch()
    made = await there.create()
    begun = await there.records.begin(made, Phase.BUILD, volumes=volumes_of(made))
    there.clock.set_wall(-HOUR)
    await guard.watch()

    moved = await there.sandbox(made.id)
    assert begun.phase_at is not None
    assert moved.phase_at is not None
    assert moved.queued_at is not None
    assert (moved.phase_at - begun.phase_at).total_seconds() == -HOUR
    assert moved.queued_at == there.clock.now() - (
        begun.phase_at - (made.queued_at or begun.phase_at)
    )
    assert moved.retry_at is None
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


async def test_a_step_forward_is_no_timeout_of_a_build(there: World) -> None:
    guard = guard_of(there)
    await guard.watch()
    made = await there.create(provision_timeout_seconds=60)
    there.clock.set_wall(HOUR)
    await guard.watch()
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_what_is_begun_between_a_step_and_its_shift_has_its_whole_time(
    there: World, step: int
) -> None:
    guard = guard_of(there)
    await guard.watch()
    there.clock.set_wall(step)
    await there.look()  # facts as old as the step place nothing
    made = await there.create(provision_timeout_seconds=60)
    await guard.watch()
    there.clock.advance(59)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


@pytest.mark.parametrize("begun", ["before", "after"])
@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_i10_no_deadline_of_a_drain_passes_by_a_step(
    there: World, step: int, begun: str
) -> None:
    guard = guard_of(there)
    await guard.watch()
    made = await there.created()
    ended: list[str] = []
    drainer = Drainer(
        there.store,
        there.clock,
        wake_sandbox=lambda _: None,
        changed=nothing,
        count=ended.append,
    )
    waiting = DrainHost(policy=DrainPolicy.EXPIRE, deadline_seconds=60)
    if begun == "after":
        there.clock.set_wall(step)
    await there.services.drains.drain("alpha", waiting, Intent(actor=ME))
    if begun == "before":
        there.clock.set_wall(step)
    for seconds, desired in ((59, DesiredState.RUNNING), (1, DesiredState.DESTROYED)):
        there.clock.advance(seconds)
        await drainer.drain()
        assert (await there.sandbox(made.id)).desired_state is desired


async def nothing(_host_id: str) -> None:
    pass


async def test_deadlines_of_drains_move_and_endless_ones_stay(there: World) -> None:
    guard = guard_of(there)
    await guard.watch()
    await there.add_seen_host("beta")
    drains = there.services.drains
    intent: Intent[DrainStatus] = Intent(actor=ME)
    waiting = DrainHost(policy=DrainPolicy.EXPIRE, deadline_seconds=60)
    first = await drains.drain("alpha", waiting, intent)
    endless = DrainHost(policy=DrainPolicy.EXPIRE, deadline_seconds=None)
    await drains.drain("beta", endless, intent)
    there.clock.set_wall(HOUR)
    await guard.watch()

    before, after = first.drain.deadline_at, (await drains.status("alpha")).drain.deadline_at
    assert before is not None
    assert after is not None
    assert (after - before).total_seconds() == HOUR
    assert (await drains.status("beta")).drain.deadline_at is None


class Stopped(ManualClock):
    """A clock whose process is stopped for long within every reading."""

    def boottime(self) -> float:
        reading = super().boottime()
        if self.stops:
            self.advance(30)
        return reading

    stops = False


async def test_a_reading_that_was_interrupted_says_nothing(there: World) -> None:
    made = await leased(there)
    clock = Stopped(there.clock.now())
    guard = ClockGuard(there.store, clock)
    await guard.watch()
    clock.stops = True
    await guard.watch()
    assert (await there.sandbox(made.id)).expires_at == made.expires_at
    assert await there.events(kind="clock.stepped") == []
    told = await there.store.read(lambda tx: lease_time(tx, clock))
    assert told == clock.now()
