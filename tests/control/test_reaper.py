"""Leases end to the second: never early, never twice, and nobody's end waits for another's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.control import reaper as reaping
from scheduler.control.reaper import Reaper
from scheduler.errors import Conflict
from scheduler.model import DesiredState, OnExpire, Sandbox, SandboxState
from scheduler.service.intents import Intent
from tests.control.world import ME, World

INTENT: Intent[Sandbox] = Intent(actor=ME)
RETENTION = 3600


class Reaping:
    """A reaper, and what it told."""

    def __init__(self, world: World) -> None:
        self.woken: list[str] = []
        self.counted: list[str] = []
        self.reaper = Reaper(
            world.store,
            world.clock,
            stopped_retention_seconds=RETENTION,
            wake=self.woken.append,
            count=self.counted.append,
        )


async def test_nothing_to_reap_is_no_work(there: World) -> None:
    await there.created()
    assert await Reaping(there).reaper.reap() is None


async def test_i10_never_early_and_to_the_second(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    assert await reaping.reaper.reap() == pytest.approx(30.0)
    there.clock.advance(29.999)
    assert await reaping.reaper.reap() == pytest.approx(0.001)
    assert reaping.woken == []
    there.clock.advance(0.001)
    assert await reaping.reaper.reap() == 0.0

    ended = await there.sandbox(made.id)
    assert (ended.desired_state, ended.state) == (DesiredState.DESTROYED, SandboxState.RUNNING)
    assert ended.reason_code == "lease_expired"
    assert (reaping.woken, reaping.counted) == ([made.id], ["destroy"])


async def test_i10_never_twice(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    there.clock.advance(30)
    for _ in range(3):
        await reaping.reaper.reap()
    told = await there.events(sandbox_id=made.id, kind="sandbox.desired")
    assert [event.reason_code for event in told] == ["lease_expired"]
    assert reaping.woken == [made.id]
    assert await reaping.reaper.reap() is None


async def test_what_expiry_stops_is_kept_for_its_retention_and_then_destroyed(
    there: World,
) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30, on_expire=OnExpire.STOP)
    there.clock.advance(30)
    await reaping.reaper.reap()
    await there.settle(made.id)

    stopped = await there.sandbox(made.id)
    assert (stopped.state, stopped.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
    assert stopped.expires_at == (made.expires_at or there.clock.now()) + timedelta(
        seconds=RETENTION
    )
    there.clock.advance(RETENTION)
    await reaping.reaper.reap()
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    assert reaping.counted == ["stop", "stop"]


async def test_i10_an_extension_that_was_granted_is_kept(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    there.clock.advance(29)
    await there.services.sandboxes.extend(made.id, 60, INTENT)
    there.clock.advance(2)
    await reaping.reaper.reap()
    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING


async def test_i10_an_extension_after_the_end_is_refused(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    there.clock.advance(30)
    await reaping.reaper.reap()
    with pytest.raises(Conflict, match="no longer be extended"):
        await there.services.sandboxes.extend(made.id, 60, INTENT)


async def test_i10_extended_between_the_look_and_the_end(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    there.clock.advance(30)
    due = await there.store.read(reaping.reaper._look)
    await there.services.sandboxes.extend(made.id, 60, INTENT)

    assert due.due == (made.id,)
    assert await reaping.reaper._end(made.id) is False
    assert await reaping.reaper._end("SBX-nowhere") is False
    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING
    assert reaping.woken == []


async def test_one_that_cannot_be_ended_is_no_busy_loop(there: World) -> None:
    class Stubborn(Reaper):
        async def _end(self, sandbox_id: str) -> bool:
            return False

    await there.created(ttl_seconds=30)
    there.clock.advance(30)
    stubborn = Stubborn(
        there.store,
        there.clock,
        stopped_retention_seconds=RETENTION,
        wake=lambda _: None,
        count=lambda _: None,
    )
    assert await stubborn.reap() == 1.0


async def test_many_ends_are_taken_a_batch_at_a_time(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "BATCH", 2)
    work = Reaping(there)
    for _ in range(5):
        await there.created(ttl_seconds=30)
    there.clock.advance(60)
    pauses = [await work.reaper.reap() for _ in range(4)]
    assert pauses == [0.0, 0.0, 0.0, None]
    assert len(set(work.woken)) == 5


async def test_no_sleep_is_longer_than_a_suspended_machine_may_cost(there: World) -> None:
    await there.created(ttl_seconds=86400)
    assert await Reaping(there).reaper.reap() == reaping.LONGEST_SLEEP_SECONDS


async def test_an_end_begins_with_no_attempts_against_it(there: World) -> None:
    reaping = Reaping(there)
    made = await there.created(ttl_seconds=30)
    await there.change(made.id, attempts=2)
    there.clock.advance(30)
    await reaping.reaper.reap()
    assert (await there.sandbox(made.id)).attempts == 0


async def test_one_that_cannot_be_ended_delays_no_other_batch(there: World) -> None:
    kept, ended = [await there.created(ttl_seconds=30) for _ in range(2)]

    class Stubborn(Reaper):
        async def _end(self, sandbox_id: str) -> bool:
            return sandbox_id != kept.id and await super()._end(sandbox_id)

    woken: list[str] = []
    stubborn = Stubborn(
        there.store,
        there.clock,
        stopped_retention_seconds=RETENTION,
        wake=woken.append,
        count=lambda _: None,
    )
    there.clock.advance(30)
    assert await stubborn.reap() == 0.0
    assert woken == [ended.id]
