"""What guests print while they boot is kept, whatever happens to host, daemon and console."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.control.console_keeper import (
    AGAIN_SECONDS,
    LISTEN_SECONDS,
    SOON_SECONDS,
    WRITE_SECONDS,
    ConsoleKeeper,
)
from scheduler.errors import HostUnreachable, NotFound
from scheduler.lifecycle import consoles
from scheduler.model import (
    DesiredState,
    SandboxState,
)
from tests.control.booting import (
    GREETING,
    INTENT,
    SlowGuest,
    go_on,
    keeper_of,
    kept,
    moved,
    ready,
    starting,
    turn,
)
from tests.control.world import World
from tests.hosts.fake_consoles import OPERATOR, FakeConsole


async def test_a_boot_is_heard_written_now_and_then_and_let_go_of_when_it_is_over(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = GREETING
    sandbox, domain = await starting(empty)
    assert await turn(empty, keeper) == LISTEN_SECONDS
    first = await kept(empty, sandbox)
    assert (first.printed, first.ended_at) == (GREETING, None)
    assert [(gap.offset, gap.why) for gap in first.gaps] == [(0, consoles.RAN_ALREADY)]

    domain.say(b"more\n")
    await turn(empty, keeper, LISTEN_SECONDS)
    assert (await kept(empty, sandbox)).printed == GREETING, "it can wait"
    await turn(empty, keeper, WRITE_SECONDS)
    assert (await kept(empty, sandbox)).printed == GREETING + b"more\n"

    domain.say(b"login: ")
    await ready(empty, slow, sandbox)
    assert await turn(empty, keeper) is None
    over = await kept(empty, sandbox)
    assert over.printed == GREETING + b"more\nlogin: "
    assert over.ended_at == empty.clock.now()
    assert domain.console is None, "whoever comes next finds it free"
    asked = slow.calls["listen"]
    assert await turn(empty, keeper) is None
    assert slow.calls["listen"] == asked, "a host where nobody boots is not asked"


async def test_what_is_listened_to_before_its_start_misses_nothing(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.gates["start"] = asyncio.Event()
    made = await empty.create()
    building = asyncio.create_task(empty.converger.converge(made.id))
    while slow.calls["start"] == 0:
        await empty.breathe()
    assert await turn(empty, keeper) == SOON_SECONDS
    slow.gates["start"].set()
    await building
    empty.domain_of(await empty.sandbox(made.id))
    slow.host.greeting = GREETING
    assert await turn(empty, keeper) == LISTEN_SECONDS
    console = await kept(empty, made)
    assert (console.printed, console.gaps) == (GREETING, ())


async def test_an_operators_console_is_left_to_them_and_heard_after_them(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    sandbox, domain = await starting(empty)
    theirs = domain.console = FakeConsole(reader=OPERATOR)
    await turn(empty, keeper)
    console = await kept(empty, sandbox)
    assert (console.begun_at, console.printed) == (None, b"")
    assert "Active console session" in (console.reason or "")
    asked = slow.calls["listen"]
    await turn(empty, keeper, LISTEN_SECONDS)
    assert slow.calls["listen"] == asked, "it is not asked for all the time"
    assert domain.console is theirs
    domain.console = None
    slow.host.greeting = GREETING
    await turn(empty, keeper, AGAIN_SECONDS)
    console = await kept(empty, sandbox)
    assert (console.printed, console.reason) == (GREETING, None)
    assert "Active console session" in console.gaps[0].why


async def test_a_host_that_fails_is_told_of_and_listened_to_again(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    domain.say(b"before")
    slow.fail("listen", HostUnreachable("host alpha does not answer"))
    assert await turn(empty, keeper, LISTEN_SECONDS) == AGAIN_SECONDS
    assert (await empty.sandbox(sandbox.id)).state is SandboxState.STARTING
    slow._consoles.clear()  # the connection is gone, and the consoles with it
    domain.console = None
    slow.host.greeting = b"after"
    assert await turn(empty, keeper, AGAIN_SECONDS) == LISTEN_SECONDS
    console = await kept(empty, sandbox)
    assert console.printed == b"after"
    assert [gap.why for gap in console.gaps[1:]] == ["host alpha does not answer"]
    domain.console = None
    slow._consoles.clear()
    await turn(empty, keeper, WRITE_SECONDS)
    console = await kept(empty, sandbox)
    assert console.gaps[-1].why == consoles.CONNECTION_BROKE


async def test_what_was_open_when_a_boot_ended_is_let_go_of_however_long_its_host_fails(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    await ready(empty, slow, sandbox)
    slow.fail("listen", HostUnreachable("host alpha does not answer"), times=2)
    for _ in range(2):
        assert await turn(empty, keeper, AGAIN_SECONDS) == AGAIN_SECONDS
        assert domain.console is not None
    assert (await kept(empty, sandbox)).ended_at is not None
    assert await turn(empty, keeper, AGAIN_SECONDS) is None
    assert domain.console is None


async def test_another_daemon_goes_on_with_what_was_kept(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = b"one"
    sandbox, _ = await starting(empty)
    over, _ = await starting(empty, sandbox_name="over")
    await turn(empty, keeper)
    await empty.change(over.id, desired_state=DesiredState.STOPPED)
    slow._consoles.clear()
    slow.host.greeting = b"two"
    host = await empty.host()
    second = keeper_of(empty)
    assert await second.resume(listens=True) == {host.id}
    await turn(empty, second)
    console = await kept(empty, sandbox)
    assert console.printed == b"onetwo"
    assert [(gap.offset, gap.why) for gap in console.gaps[1:]] == [(3, consoles.DAEMON_RESTARTED)]
    ended = await kept(empty, over)
    assert ended.ended_at is not None
    assert "the daemon ended" in (ended.reason or "")
    third = keeper_of(empty)
    assert await third.resume(listens=False) == frozenset()
    assert (await kept(empty, sandbox)).ended_at is not None


async def test_only_so_many_are_listened_to_and_the_next_when_one_is_ready(
    empty: World, slow: SlowGuest
) -> None:
    keeper = keeper_of(empty, most=1)
    slow.host.greeting = GREETING
    first, _ = await starting(empty)
    second, _ = await starting(empty)
    await turn(empty, keeper)
    heard = {one.id: await kept(empty, one) for one in (first, second)}
    (left_out,) = (one for one in heard.values() if one.begun_at is None)
    (chosen,) = (one for one in heard.values() if one.begun_at is not None)
    assert "other guests" in (left_out.reason or "")
    assert sum(one.console is not None for one in slow.host.domains.values()) == 1
    await empty.services.sandboxes.destroy(chosen.sandbox_id, INTENT)
    await turn(empty, keeper, LISTEN_SECONDS)
    await turn(empty, keeper, LISTEN_SECONDS)
    assert (await empty.services.consoles.get(left_out.sandbox_id)).printed == GREETING


async def test_a_host_without_consoles_is_said_to_have_none_and_not_asked_again(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.streams = False
    sandbox, _ = await starting(empty)
    for _ in range(3):
        assert await turn(empty, keeper, AGAIN_SECONDS) == AGAIN_SECONDS
    assert slow.calls["listen"] == 1
    console = await kept(empty, sandbox)
    assert console.begun_at is None
    assert "has no consoles" in (console.reason or "")
    await ready(empty, slow, sandbox)
    assert await turn(empty, keeper) is None


async def test_a_guest_that_dies_while_it_boots_is_heard_in_each_of_its_starts(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = b"panic\n"
    sandbox, domain = await starting(empty)
    await turn(empty, keeper)
    await slow.power_off(domain.uuid)
    assert await turn(empty, keeper, 1) == SOON_SECONDS
    for _ in range(9):
        if domain.active:
            break
        await empty.converger.converge(sandbox.id)
        empty.clock.advance(1)
    await turn(empty, keeper, WRITE_SECONDS)
    console = await kept(empty, sandbox)
    assert console.printed == b"panic\npanic\n"
    assert [gap.why for gap in console.gaps[1:]] == [consoles.STARTED_AGAIN]


@pytest.mark.parametrize("printed", [b"", b"Kernel panic\n"])
async def test_a_boot_that_failed_names_the_console_if_there_is_one(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper, printed: bytes
) -> None:
    slow.host.greeting = printed
    sandbox, _ = await starting(empty, sandbox_name="box", provision_timeout_seconds=30)
    await turn(empty, keeper)
    empty.clock.advance(31)
    await empty.converger.converge(sandbox.id)
    failed = await empty.sandbox(sandbox.id)
    assert failed.reason_code == "provision_timeout"
    named = "what its guest printed: sandboxctl console box" in (failed.reason_message or "")
    assert named is bool(printed)
    assert await turn(empty, keeper) is None


async def test_another_boot_has_a_console_of_its_own(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = b"first"
    sandbox, domain = await starting(empty, provision_timeout_seconds=30)
    await turn(empty, keeper)
    empty.clock.advance(31)
    await empty.converger.converge(sandbox.id)
    await turn(empty, keeper)
    first = await kept(empty, sandbox)
    await slow.power_off(domain.uuid)
    slow.host.greeting = b"second"
    await empty.services.sandboxes.retry(sandbox.id, INTENT)
    await go_on(empty, sandbox.id)
    await turn(empty, keeper)
    second = await kept(empty, sandbox)
    assert (first.printed, second.printed) == (b"first", b"second")
    assert second.boot_at > first.boot_at


async def test_the_same_boot_on_another_host_goes_on_in_the_same_console(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper
) -> None:
    slow.host.greeting = b"alpha "
    sandbox, _ = await starting(empty)
    await turn(empty, keeper)
    # Both orders of the two hosts' turns: seen on the new one first, or seen to be gone before.
    other = await empty.add_host("beta")
    other.host.greeting = b"beta"
    other.host.domains = slow.host.domains
    alpha, beta = [(await empty.host(name)).id for name in ("alpha", "beta")]
    await moved(empty, sandbox.id, beta)
    slow.host.domains[sandbox.domain_uuid or ""].console = None
    empty.clock.advance(WRITE_SECONDS)
    assert await keeper.keep(beta) == LISTEN_SECONDS
    assert await keeper.keep(alpha) is None
    console = await kept(empty, sandbox)
    assert console.printed == b"alpha beta"
    assert console.gaps[-1].why == consoles.BEGUN_ANEW
    assert console.ended_at is None


async def test_what_a_host_that_is_gone_had_told_is_ended_and_kept(
    empty: World, slow: SlowGuest, keeper: ConsoleKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.host.greeting = GREETING
    sandbox, _ = await starting(empty)
    await turn(empty, keeper)
    host = await empty.host()

    def gone(_self: object, _id: str) -> None:
        raise NotFound("there is no host")

    monkeypatch.setattr("scheduler.store.repositories.hosts.Hosts.get", gone)
    assert await keeper.keep(host.id) is None
    assert (await kept(empty, sandbox)).ended_at is not None


async def test_there_is_a_remedy_where_there_is_no_console(empty: World, slow: SlowGuest) -> None:
    made = await empty.create()
    for state in ("unborn", "up"):
        with pytest.raises(NotFound) as caught:
            await empty.services.consoles.get(made.id)
        assert caught.value.remedy, state
        slow.is_up = True
        await empty.settle(made.id)
