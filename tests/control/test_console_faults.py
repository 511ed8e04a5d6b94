"""What guests print is kept where clocks are set, hosts fail, records go or the disk is full."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.control.console_keeper import (
    AGAIN_SECONDS,
    LISTEN_SECONDS,
    WRITE_SECONDS,
    ConsoleKeeper,
)
from scheduler.control.pace import Keep
from scheduler.control.retention import Retention
from scheduler.errors import HostUnreachable, NotFound, Unavailable
from scheduler.lifecycle import consoles
from scheduler.model import DesiredState, SandboxState
from tests.control.booting import (
    GREETING,
    INTENT,
    SlowGuest,
    keeper_of,
    kept,
    moved,
    starting,
    turn,
)
from tests.control.world import World
from tests.waits import until


@pytest.fixture
async def guard(empty: World) -> ClockGuard:
    """Who watches the clock, and has looked at it once."""
    watching = ClockGuard(empty.store, empty.clock)
    await watching.watch()
    return watching


@pytest.mark.parametrize("step", [120.0, -120.0, 1.0])
async def test_a_clock_that_is_set_makes_no_other_boot(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper, guard: ClockGuard, step: float
) -> None:
    slow.host.greeting = GREETING
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    domain.say(b"before\n")
    await turn(empty, keeper, LISTEN_SECONDS)
    empty.clock.set_wall(step)
    await guard.watch()
    domain.say(b"after\n")
    await turn(empty, keeper, WRITE_SECONDS)
    console = await kept(empty, sandbox)
    assert console.printed == GREETING + b"before\nafter\n"
    assert console.boot_at == consoles.boot_of(await empty.sandbox(sandbox.id))
    assert console.boot_at != consoles.boot_of(sandbox)
    assert len(console.gaps) == 1


async def test_a_clock_that_is_set_while_a_host_is_asked_makes_no_other_boot(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper, guard: ClockGuard
) -> None:
    slow.host.greeting = GREETING
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    slow.gates["listen"] = asyncio.Event()
    domain.say(b"more")
    empty.clock.advance(WRITE_SECONDS)
    hung = asyncio.create_task(keeper.keep((await empty.host()).id))
    await until(lambda: slow.calls["listen"] == 2)
    empty.clock.set_wall(120)
    await guard.watch()
    slow.gates.pop("listen").set()
    await hung
    console = await kept(empty, sandbox)
    assert console.printed == GREETING + b"more"
    assert console.boot_at == consoles.boot_of(await empty.sandbox(sandbox.id))


async def test_a_console_that_is_open_since_an_earlier_boot_is_heard_in_the_next(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = b"first"
    sandbox, domain = await starting(empty, provision_timeout_seconds=30)
    await turn(empty, keeper)
    empty.clock.advance(31)
    await empty.converger.converge(sandbox.id)
    assert (await empty.sandbox(sandbox.id)).state is SandboxState.ERROR
    slow.fail("listen", HostUnreachable("host alpha was not asked"))
    await turn(empty, keeper)
    await empty.services.sandboxes.retry(sandbox.id, INTENT)
    for _ in range(5):
        await empty.converger.converge(sandbox.id)
    assert (await empty.sandbox(sandbox.id)).state is SandboxState.STARTING
    domain.say(b"second")
    await turn(empty, keeper, WRITE_SECONDS)
    console = await kept(empty, sandbox)
    assert console.printed == b"second"
    assert console.boot_at == consoles.boot_of(await empty.sandbox(sandbox.id))
    assert [gap.why for gap in console.gaps] == [consoles.BEGUN_ANEW]


async def test_who_cannot_be_heard_keeps_nobody_else_from_being_heard(
    empty: World, slow: SlowGuest
) -> None:
    keeper = keeper_of(empty, most=1)
    mute, _ = await starting(empty)
    alpha = await empty.host("alpha")
    slow.fail("listen", HostUnreachable("host alpha does not answer"), times=1000)
    await keeper.keep(alpha.id)
    other = await empty.add_host("beta")
    other.host.greeting = GREETING
    beta = await empty.host("beta")
    heard, _ = await starting(empty)
    await moved(empty, heard.id, beta.id)
    other.host.domains = slow.host.domains
    for _ in range(4):
        empty.clock.advance(AGAIN_SECONDS)
        await keeper.keep(beta.id)
        await keeper.keep(alpha.id)
    assert (await kept(empty, heard)).printed == GREETING
    assert (await kept(empty, mute)).begun_at is None


async def test_a_console_goes_with_a_sandbox_that_is_forgotten_meanwhile(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = GREETING
    sandbox, _ = await starting(empty)
    await turn(empty, keeper)
    slow.gates["listen"] = asyncio.Event()
    hung = asyncio.create_task(keeper.keep((await empty.host()).id))
    await until(lambda: slow.calls["listen"] == 2)
    await empty.services.sandboxes.destroy(sandbox.id, INTENT)
    for _ in range(50):
        if await empty.converger.converge(sandbox.id) is None:
            break
        empty.clock.advance(1)
    empty.clock.advance(10)
    await Retention(empty.store, empty.clock, Keep(tombstones_seconds=1.0)).sweep()
    with pytest.raises(NotFound):
        await empty.sandbox(sandbox.id)
    slow.gates.pop("listen").set()
    await hung
    assert await turn(empty, keeper, LISTEN_SECONDS) is None
    following, _ = await starting(empty)
    await turn(empty, keeper, LISTEN_SECONDS)
    assert (await kept(empty, following)).printed == GREETING


async def test_a_row_that_cannot_be_read_is_written_over(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = GREETING
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    with (
        closing(sqlite3.connect(str(empty.store.config.sqlite_path), timeout=60)) as database,
        database,
    ):
        database.execute("UPDATE consoles SET gaps = '{'")
    domain.say(b"more")
    await turn(empty, keeper, WRITE_SECONDS)
    assert (await kept(empty, sandbox)).printed == GREETING + b"more"


async def test_a_start_on_a_database_that_takes_no_writes_goes_on(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox, _ = await starting(empty)
    await turn(empty, keeper)
    await empty.change(sandbox.id, desired_state=DesiredState.STOPPED)

    async def full(_store: object, _unit: object) -> None:
        raise Unavailable("database or disk is full", remedy="make room")

    with monkeypatch.context() as patched:
        patched.setattr(type(empty.store), "submit", full)
        assert await keeper_of(empty).resume(listens=True) == frozenset()
    await keeper_of(empty).resume(listens=True)
    assert (await kept(empty, sandbox)).ended_at is not None
