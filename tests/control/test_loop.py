"""The one loop shape: period, early wake, time limit and stop."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.clock import SystemClock
from scheduler.control.loop import Loop
from tests.clocks import ManualClock


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
        async with asyncio.timeout(5):
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
    assert loop.finished_at == clock.monotonic()


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
