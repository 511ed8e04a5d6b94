"""The loops that only look end nothing, however long a large fleet keeps them looking."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from scheduler.control import loop as loops
from scheduler.control.loop import LONGEST_SECONDS, Loop
from scheduler.control.measuring import measuring_loops
from tests.control.world import World
from tests.waits import until


async def idle() -> None:
    return None


async def test_an_audit_of_a_large_fleet_may_take_minutes(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that hangs is told of, as a part of the daemon that does not go on."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def audit() -> None:
        begun.set()
        await go_on.wait()

    at_once = SimpleNamespace(**vars(asyncio))
    at_once.timeout = lambda limit: asyncio.timeout(None if limit is None else 0.0)
    monkeypatch.setattr(loops, "asyncio", at_once)  # every limit is over at once
    loop = the_audit(measuring_loops(there.store, there.clock, refresh=idle, lag=idle, audit=audit))
    running = asyncio.create_task(loop.run())
    await begun.wait()
    assert loop.turn.longest_seconds == LONGEST_SECONDS
    go_on.set()
    await until(lambda: loop.turn.working_since is None)
    assert not running.done()
    loop.stop()
    await running


def the_audit(all_loops: tuple[Loop, ...]) -> Loop:
    (loop,) = (one for one in all_loops if one.name == "audit")
    return loop
