"""The loops about consoles, as the daemon runs them along with all others."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scheduler.control.console_keeper import LISTEN_SECONDS
from scheduler.model import SandboxState
from tests.clocks import ManualClock
from tests.control.booting import GREETING, SlowGuest
from tests.control.world import World, world


async def test_the_daemon_listens_while_guests_boot_and_keeps_what_it_heard_when_it_ends(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with world(tmp_path, clock, make_driver=SlowGuest) as opened:
        driver = await opened.add_host()
        assert isinstance(driver, SlowGuest)
        driver.host.greeting = GREETING
        async with opened.running() as plane:
            await opened.until(lambda: takes_sandboxes(opened))
            first = await opened.create()
            await opened.until(lambda: said(opened, first.id, GREETING))
            driver.is_up = True
            await opened.until_state(first.id, SandboxState.RUNNING)
            await opened.until(lambda: over(opened, first.id))
            assert opened.domain_of(await opened.sandbox(first.id)).console is None
            driver.is_up = False
            second = await opened.create()
            await opened.until(lambda: said(opened, second.id, GREETING))
            assert any(turn.name == "consoles" for turn in plane.turns())
            opened.domain_of(await opened.sandbox(second.id)).say(b"last words")
            opened.clock.advance(LISTEN_SECONDS)
            await opened.breathe()
        assert await said(opened, second.id, GREETING + b"last words")


async def test_a_host_that_hangs_keeps_nobody_else_from_being_heard(
    tmp_path: Path, clock: ManualClock
) -> None:
    async with world(tmp_path, clock, make_driver=SlowGuest) as opened:
        alpha, beta = await opened.add_host("alpha"), await opened.add_host("beta")
        alpha.gates["listen"] = asyncio.Event()
        alpha.host.greeting = beta.host.greeting = GREETING
        async with opened.running():
            await opened.until(lambda: takes_sandboxes(opened, "alpha"))
            await opened.until(lambda: takes_sandboxes(opened, "beta"))
            boxes = [await opened.create(anti_affinity_group="apart") for _ in range(2)]
            (there,) = (one for one in boxes if one.host_name == "beta")
            (hung,) = (one for one in boxes if one.host_name == "alpha")
            await opened.until(lambda: said(opened, there.id, GREETING))
            await opened.until_state(hung.id, SandboxState.STARTING)
            assert isinstance(alpha, SlowGuest)
            alpha.is_up = True
            await opened.until_state(hung.id, SandboxState.RUNNING)
            alpha.gates["listen"].set()


async def test_nobody_listens_where_that_is_not_wanted(tmp_path: Path, clock: ManualClock) -> None:
    async with world(tmp_path, clock, make_driver=SlowGuest) as opened:
        driver = await opened.add_host()
        async with opened.running(consoles=False):
            await opened.until(lambda: takes_sandboxes(opened))
            made = await opened.create()
            await opened.until_state(made.id, SandboxState.STARTING)
            await opened.breathe()
            assert driver.calls["listen"] == 0


async def takes_sandboxes(empty: World, name: str = "alpha") -> bool:
    host = await empty.host(name)
    return host.observed_at is not None


async def said(empty: World, sandbox_id: str, text: bytes) -> bool:
    console = await empty.store.read(lambda tx: tx.consoles.get(sandbox_id))
    return console is not None and console.printed == text


async def over(empty: World, sandbox_id: str) -> bool:
    return (await empty.services.consoles.get(sandbox_id)).ended_at is not None
