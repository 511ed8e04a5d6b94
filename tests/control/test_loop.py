"""The one loop shape: period, early wake, time limit and stop."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.clock import SystemClock
from scheduler.control.loop import PATIENCE_SECONDS, STORE_AGAIN_SECONDS, Loop
from scheduler.errors import ReadOnly, Unavailable
from scheduler.statedir import DiskRefused
from tests.clocks import ManualClock
from tests.waits import DEADLINE_SECONDS


class Counted:
    """A pass that counts itself and answers what it is told to."""

    def __init__(self, again: float | None = None) -> None:
        self.again = again
        self.done = 0
        self.turn = asyncio.Event()

    async def __call__(self) -> float | None:
        self.done += 1
        self.turn.set()
        return self.again

    async def reaches(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.done < count:
                self.turn.clear()
                await self.turn.wait()
        await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_runs_again_after_its_period_and_not_before() -> None:
    clock, work = ManualClock(), Counted()
    loop = Loop("test", work, every=10, limit=None, clock=clock)
    running = asyncio.create_task(loop.run())
    await work.reaches(1)
    clock.advance(9.9)
    await settle()
    assert work.done == 1
    clock.advance(0.2)
    await work.reaches(2)
    loop.stop()
    await running


async def test_a_pass_may_say_when_it_wants_to_run_again() -> None:
    clock, work = ManualClock(), Counted(again=0.5)
    loop = Loop("test", work, every=1000, limit=None, clock=clock)
    running = asyncio.create_task(loop.run())
    await work.reaches(1)
    clock.advance(0.5)
    await work.reaches(2)
    loop.stop()
    await running


async def test_wake_brings_the_next_pass_forward() -> None:
    clock, work = ManualClock(), Counted()
    seen: list[str] = []
    loop = Loop(
        "test", work, every=1000, limit=None, clock=clock, observe=lambda name, _: seen.append(name)
    )
    running = asyncio.create_task(loop.run())
    await work.reaches(1)
    loop.wake()
    await work.reaches(2)
    loop.stop()
    await running
    assert seen == ["test", "test"]


async def test_stop_before_the_first_pass_runs_none() -> None:
    work = Counted()
    loop = Loop("test", work, every=1, limit=None, clock=ManualClock())
    loop.stop()
    await loop.run()
    assert work.done == 0


async def test_a_pass_that_overruns_its_limit_ends_the_loop() -> None:
    async def hang() -> float | None:
        await asyncio.Event().wait()
        return None

    loop = Loop("test", hang, every=1, limit=0.01, clock=SystemClock())
    with pytest.raises(TimeoutError):
        await loop.run()


async def test_a_bug_in_a_pass_escapes() -> None:
    async def bug() -> float | None:
        raise ZeroDivisionError

    loop = Loop("test", bug, every=1, limit=1, clock=ManualClock())
    with pytest.raises(ZeroDivisionError):
        await loop.run()


async def test_rest_lies_between_two_passes_however_often_one_is_woken() -> None:
    clock, work = ManualClock(), Counted()
    loop = Loop("test", work, every=10, limit=None, clock=clock, rest=1)
    running = asyncio.create_task(loop.run())
    await work.reaches(1)
    for _ in range(5):
        loop.wake()
        await settle()
    assert work.done == 1
    clock.advance(1)
    await work.reaches(2)
    clock.advance(1)
    await settle()
    clock.advance(9)
    await work.reaches(3)
    loop.stop()
    await running
    assert work.done == 3


class Refused:
    """A pass that the store refuses, so often or for ever."""

    def __init__(self, error: ReadOnly | Unavailable, times: int = 1_000_000) -> None:
        self.error = error
        self.times = times
        self.asked = 0

    async def __call__(self) -> float | None:
        self.asked += 1
        if self.asked <= self.times:
            raise self.error
        return None


async def passing(clock: ManualClock, refused: Refused, times: int) -> None:
    for _ in range(times):
        asked = refused.asked
        clock.advance(STORE_AGAIN_SECONDS)
        for _ in range(10):
            await asyncio.sleep(0)
        assert refused.asked == asked + 1


async def test_a_full_disk_is_waited_for_however_long_it_lasts() -> None:
    clock, work = ManualClock(), Refused(ReadOnly("the disk is full"), times=1000)
    seen: list[str] = []
    loop = Loop(
        "test", work, every=1e9, limit=None, clock=clock, observe=lambda name, _: seen.append(name)
    )
    running = asyncio.create_task(loop.run())
    await settle()
    await passing(clock, work, 999)
    assert seen == []
    await passing(clock, work, 1)
    assert seen == ["test"]
    loop.stop()
    await running


async def test_a_database_that_is_gone_for_long_ends_the_loop() -> None:
    clock, work = ManualClock(), Refused(Unavailable("the database does not answer"))
    loop = Loop("test", work, every=1, limit=None, clock=clock)
    running = asyncio.create_task(loop.run())
    await settle()
    await passing(clock, work, int(PATIENCE_SECONDS / STORE_AGAIN_SECONDS))
    with pytest.raises(Unavailable, match="does not answer"):
        await running


async def test_a_disk_that_refuses_ends_no_loop_and_wears_out_no_patience() -> None:
    clock, work = ManualClock(), Refused(DiskRefused("the disk is full"))
    loop = Loop("test", work, every=1, limit=None, clock=clock)
    running = asyncio.create_task(loop.run())
    await settle()
    refusals = int(PATIENCE_SECONDS / STORE_AGAIN_SECONDS)
    await passing(clock, work, refusals + 10)
    for error in (Unavailable("locked"), ReadOnly("full"), Unavailable("locked")):
        work.error = error
        await passing(clock, work, refusals - 1)
    assert not running.done()
    loop.stop()
    await running


async def test_patience_begins_anew_with_every_good_pass() -> None:
    clock, work = ManualClock(), Refused(Unavailable("locked"), times=100)
    loop = Loop("test", work, every=STORE_AGAIN_SECONDS, limit=None, clock=clock)
    running = asyncio.create_task(loop.run())
    await settle()
    await passing(clock, work, 101)
    work.times, work.asked = 100, 0
    await passing(clock, work, 101)
    assert not running.done()
    loop.stop()
    await running


async def test_a_loop_says_where_in_its_turn_it_is() -> None:
    clock, gate = ManualClock(), asyncio.Event()

    async def work() -> float | None:
        await gate.wait()
        return None

    loop = Loop("test", work, every=10, limit=30, clock=clock, rest=2)
    assert loop.turn.overdue_seconds(1e9) < 0
    running = asyncio.create_task(loop.run())
    await settle()
    clock.advance(31)
    assert loop.turn.overdue_seconds(clock.monotonic()) == 1
    gate.set()
    await settle()
    assert loop.turn.overdue_seconds(clock.monotonic()) == -10
    loop.stop()
    await running
    assert loop.turn.overdue_seconds(1e9) < 0


async def test_a_refusal_by_the_store_ends_a_turn_like_any_other() -> None:
    clock, work = ManualClock(), Refused(Unavailable("gone"), times=10)
    loop = Loop("test", work, every=1e9, limit=None, longest=0, clock=clock)
    running = asyncio.create_task(loop.run())
    await settle()
    assert loop.turn.overdue_seconds(clock.monotonic()) == -STORE_AGAIN_SECONDS
    loop.stop()
    await running
