"""So many builds at once on a host, in order, and nothing else waits for them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

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


def test_the_next_in_line_is_woken_when_who_was_to_build_leaves(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=1):
        assert not any([line.asks("b"), line.asks("c")])
    assert line.woken == ["b"]
    for _ in range(2):
        line.queue.leave(HOST, "b")
    assert line.woken == ["b", "c"]


def test_a_smaller_number_holds_from_the_next_build_on(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=3), line.queue.turn(HOST, "b", most=3):
        assert not line.asks("c", most=1)
    assert line.asks("c", most=1)


def test_a_larger_number_outlives_the_builds_that_began_before_it(line: Line) -> None:
    turns = [line.queue.turn(HOST, "a", most=1)]
    turns += [line.queue.turn(HOST, name, most=3) for name in ("b", "c")]
    ends = [ExitStack() for _ in turns]
    assert all(end.enter_context(turn) for end, turn in zip(ends, turns, strict=True))
    assert not any([line.asks("d", most=3), line.asks("e", most=3)])
    for end in ends:
        end.close()
    assert line.woken == ["d", "d", "e", "d", "e"]


def test_who_hears_of_a_larger_number_has_the_others_woken(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=1):
        assert not any([line.asks("b"), line.asks("c"), line.asks("d"), line.asks("e")])
        with line.queue.turn(HOST, "b", most=3) as admitted:
            assert admitted
            assert line.woken == ["c"]


def test_a_larger_number_of_a_host_wakes_those_who_may_build_by_it(line: Line) -> None:
    line.queue.allow(HOST, 3)
    with line.queue.turn(HOST, "a", most=1):
        assert not any([line.asks("b"), line.asks("c"), line.asks("d")])
        line.queue.allow(HOST, 1)
        assert line.woken == []
        line.queue.allow(HOST, 3)
        assert line.woken == ["b", "c"]


def test_by_a_smaller_number_nobody_is_woken_in_vain(line: Line) -> None:
    with line.queue.turn(HOST, "a", most=3):
        with line.queue.turn(HOST, "b", most=3), line.queue.turn(HOST, "c", most=3):
            assert not line.asks("d", most=3)
            line.queue.allow(HOST, 1)
        assert line.woken == []
    assert line.woken == ["d"]


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
    await limit(empty, 2)
    await empty.look()
    async with empty.running(poll_seconds=10.0):
        stopped, running = await empty.create(), await empty.create()
        for one in (stopped, running):
            await empty.until_state(one.id, SandboxState.RUNNING)
        driver.go_on = asyncio.Event()
        many = [await empty.create() for _ in range(2)]
        await until(lambda: driver.building == 2)
        many += [await empty.create() for _ in range(6)]

        await empty.services.sandboxes.stop(stopped.id, INTENT)
        await empty.until_state(stopped.id, SandboxState.STOPPED)
        unbuilt = many.pop()
        await empty.services.sandboxes.destroy(unbuilt.id, INTENT)
        await empty.until_state(unbuilt.id, SandboxState.DESTROYED)
        assert driver.building == 2

        driver.go_on.set()
        for one in many:
            await empty.until_state(one.id, SandboxState.RUNNING, within=300)
        assert driver.most == 2
    await empty.assert_ledger()


async def test_a_raised_number_is_used_at_once_and_no_worker_is_parked(empty: World) -> None:
    empty.make_driver = SlowBuilds
    driver = await empty.add_host(cpus=64)
    assert isinstance(driver, SlowBuilds)
    await limit(empty, 1)
    await empty.look()
    async with empty.running(poll_seconds=600.0):
        driver.go_on = asyncio.Event()
        many = [await empty.create() for _ in range(5)]
        await until(lambda: driver.building == 1)
        await limit(empty, 3)

        async def three() -> bool:
            return driver.building == 3

        try:
            await empty.until(three, within=60, what="three builds")
        finally:
            driver.go_on.set()
        for one in many:
            await empty.until_state(one.id, SandboxState.RUNNING, within=300)
        assert driver.most == 3
    assert await empty.events(reason_code="internal_error") == []
    await empty.assert_ledger()


async def limit(there: World, most: int) -> None:
    edit = EditHost(max_concurrent_builds=most)
    await there.services.hosts.edit("alpha", edit, Intent(actor=ME))
