"""The calendar wakes a loop; the loop does the work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from scheduler.clock import SystemClock
from scheduler.control.calendar import waking
from scheduler.control.loop import Loop
from tests.waits import until

SOON = timedelta(milliseconds=10)


async def test_a_loop_is_woken_again_and_again_until_the_block_is_left() -> None:
    passes: list[int] = []

    async def work() -> float | None:
        passes.append(len(passes))
        return None

    loop = Loop("test", work, every=1e9, limit=1, clock=SystemClock())
    running = asyncio.create_task(loop.run())
    with waking(loop.wake, every=SOON):
        await until(lambda: len(passes) >= 4)
    loop.stop()
    await running


async def test_nobody_is_woken_once_the_block_is_left() -> None:
    woken: list[int] = []
    others: list[int] = []
    with waking(lambda: woken.append(1), every=SOON):
        await until(lambda: bool(woken))
    # Another calendar's beats tell how often it would have been by now.
    with waking(lambda: others.append(1), every=SOON):
        await until(lambda: len(others) >= 2)
        before = len(woken)
        await until(lambda: len(others) >= 8)
    assert len(woken) == before
