"""So many builds at once on a host, in order, and nothing else waits for them."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.control.build_queue import FORGOTTEN_SECONDS, BuildQueue
from scheduler.model import Sandbox, SandboxState
from scheduler.service.intents import Intent
from scheduler.validation.hosts import EditHost
from tests.clocks import ManualClock
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver
from tests.waits import until

INTENT: Intent[Sandbox] = Intent(actor=ME)
HOST = "HST-1"


class Line:
    """A queue, who was woken, and a way to ask without building."""

    def __init__(self, clock: ManualClock) -> None:
        self.woken: list[str] = []
        self.queue = BuildQueue(clock, self.woken.append)

    def asks(self, name: str, *, most: int = 1) -> bool:
        with self.queue.turn(HOST, name, most=most) as admitted:
            return admitted


@pytest.fixture
def line(clock: ManualClock) -> Line:
    return Line(clock)


def test_more_than_most_wait_and_the_first_in_line_is_woken(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=1) as first:
        assert first
        assert not line.asks("b")
        assert not line.asks("c")
        assert not line.asks("b"), "asking again keeps the place"
        assert line.woken == []
    assert line.woken == ["b"]
    assert not line.asks("c"), "it is b's turn, whoever comes first"
    assert line.asks("b")
    assert line.woken == ["b", "c"]
    assert line.asks("c")


def test_as_many_are_woken_as_may_build(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=2), line.queue.turn(HOST, "b", most=2):
        assert not any([line.asks("c", most=2), line.asks("d", most=2), line.asks("e", most=2)])
    assert line.woken == ["c", "c", "d"]


def test_each_host_has_a_line_of_its_own(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=1), line.queue.turn("HST-2", "b", most=1) as other:
        assert other
    line.queue.forget("HST-2")
    line.queue.leave("HST-3", "x")


def test_a_failed_build_makes_room(line: Line) -> None:
    with pytest.raises(RuntimeError), line.queue.turn(HOST, "a", most=1):
        raise RuntimeError
    assert line.asks("b")


def test_who_left_or_was_never_heard_of_again_keeps_nobody_waiting(
    line: Line, clock: ManualClock
) -> None:
    with line.queue.turn(HOST, "a", most=1):
        assert not any([line.asks("b"), line.asks("c"), line.asks("d")])
    line.queue.leave(HOST, "b")
    assert not line.asks("d")
    clock.advance(FORGOTTEN_SECONDS)
    assert not line.asks("d")
    clock.advance(0.1)
    assert line.asks("d")


def test_a_smaller_number_holds_from_the_next_build_on(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=3), line.queue.turn(HOST, "b", most=3):
        assert not line.asks("c", most=1)
    assert line.asks("c", most=1)


class SlowBuilds(FakeDriver):
    """A host whose images take long to lay down, until told to go on."""

    building = 0
    most = 0
    go_on: asyncio.Event

    async def ensure_pool(self) -> None:
        await super().ensure_pool()
        if not hasattr(self, "go_on"):
            return
        self.building += 1
        self.most = max(self.most, self.building)
        await self.go_on.wait()
        self.building -= 1


async def test_builds_wait_for_builds_and_nothing_else_does(empty: World) -> None:
    empty.make_driver = SlowBuilds
    driver = await empty.add_host(cpus=64)
    assert isinstance(driver, SlowBuilds)
    edit = EditHost(max_concurrent_builds=2)
    await empty.services.hosts.edit("alpha", edit, Intent(actor=ME))
    await empty.look()
    async with empty.running(poll_seconds=10.0):
        stopped, running = await empty.create(), await empty.create()
        for one in (stopped, running):
            await empty.until_state(one.id, SandboxState.RUNNING)
        driver.go_on = asyncio.Event()
        many = [await empty.create() for _ in range(8)]
        await until(lambda: driver.building == 2)

        await empty.services.sandboxes.stop(stopped.id, INTENT)
        await empty.until_state(stopped.id, SandboxState.STOPPED, within=30)
        unbuilt = many.pop()
        await empty.services.sandboxes.destroy(unbuilt.id, INTENT)
        await empty.until_state(unbuilt.id, SandboxState.DESTROYED, within=30)
        assert driver.building == 2

        driver.go_on.set()
        for one in many:
            await empty.until_state(one.id, SandboxState.RUNNING, within=300)
        assert driver.most == 2
    await empty.assert_ledger()
