"""One task a key, parked when it fails, gone when it is settled, stuck when it shows no life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from scheduler.control.parking import LONGEST_FOR_BUGS_SECONDS, LONGEST_SECONDS, Parking
from scheduler.control.vitals import find_stuck
from scheduler.control.workers import LONGEST_SECONDS as LONGEST_TURN
from scheduler.control.workers import Work, Workers
from scheduler.errors import HostRefused
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.lanes import Lane, LaneLimits, Terms
from scheduler.hosts.threads import Threads
from scheduler.signs_of_life import bounded
from tests.clocks import ManualClock
from tests.hosts.calls import Gate
from tests.waits import until


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


class Items:
    """Work that answers from a script, and says how much of it ran at once for a key."""

    def __init__(self) -> None:
        self.answers: dict[str, list[float | Exception | None]] = {}
        self.turns: list[str] = []
        self.inside: set[str] = set()
        self.bugs: list[tuple[str, str]] = []

    async def work(self, key: str) -> float | None:
        assert key not in self.inside
        self.inside.add(key)
        await asyncio.sleep(0)
        self.inside.discard(key)
        self.turns.append(key)
        script = self.answers.get(key)
        answer = script.pop(0) if script else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def bug(self, key: str, evidence: str) -> None:
        self.bugs.append((key, evidence))


@asynccontextmanager
async def working(
    items: Items, clock: ManualClock, work: Work | None = None
) -> AsyncIterator[Workers]:
    workers = Workers("test", work or items.work, clock=clock, report_bug=items.bug)
    running = asyncio.create_task(workers.run())
    await asyncio.sleep(0)
    try:
        yield workers
    finally:
        workers.stop()
        async with asyncio.timeout(60):
            await running


async def test_a_woken_key_is_worked_on_and_then_costs_nothing() -> None:
    items = Items()
    async with working(items, ManualClock()) as workers:
        workers.wake("a")
        await until(lambda: items.turns == ["a"] and len(workers) == 0)


async def test_a_worker_is_no_part_of_the_request_that_woke_it() -> None:
    """Nor of another's work that woke it: what it logs is not under that one's id."""
    told: dict[str, object] = {}
    others = {"a": "b"}

    async def work(key: str) -> None:
        told[key] = get_contextvars().get("request_id")
        if key in others:
            with bound_contextvars(request_id="of a's work"):
                workers.wake(others[key])

    async with working(Items(), ManualClock(), work) as workers:
        with bound_contextvars(request_id="REQ-1"):
            workers.wake("a")
            await until(lambda: len(told) == 2)
            assert get_contextvars() == {"request_id": "REQ-1"}
    assert told == {"a": None, "b": None}


async def test_keys_woken_before_the_start_are_not_lost() -> None:
    items = Items()
    workers = Workers("test", items.work, clock=ManualClock(), report_bug=items.bug)
    workers.wake("b")
    workers.nudge("a")
    running = asyncio.create_task(workers.run())
    await until(lambda: items.turns == ["a", "b"])
    workers.stop()
    await running


async def test_never_two_at_once_and_no_wake_is_lost() -> None:
    items = Items()
    async with working(items, ManualClock()) as workers:
        for _ in range(3):
            workers.wake("a")
        await until(lambda: len(workers) == 0)
        assert 1 <= len(items.turns) <= 3
        assert set(items.turns) == {"a"}


async def test_a_pause_ends_by_time_or_by_a_wake_but_not_by_a_nudge() -> None:
    items, clock = Items(), ManualClock()
    items.answers["a"] = [30.0, 30.0]
    async with working(items, clock) as workers:
        workers.wake("a")
        await until(lambda: len(items.turns) == 1)
        workers.nudge("a")
        await asyncio.sleep(0)
        assert len(items.turns) == 1
        workers.wake("a")
        await until(lambda: len(items.turns) == 2)
        clock.advance(30)
        await until(lambda: len(items.turns) == 3 and len(workers) == 0)


async def test_a_fault_parks_its_key_and_only_that() -> None:
    items, clock = Items(), ManualClock()
    items.answers["a"] = [HostRefused("no such pool")]
    async with working(items, clock) as workers:
        workers.wake("a")
        workers.wake("b")
        await until(lambda: sorted(items.turns) == ["a", "b"])
        assert workers.parking.failures("a") == 1
        clock.advance(LONGEST_SECONDS)
        await until(lambda: items.turns.count("a") == 2 and len(workers) == 0)
        assert workers.parking.failures("a") == 0
        assert items.bugs == []


async def test_a_bug_parks_its_key_with_the_traceback_as_evidence() -> None:
    items, clock = Items(), ManualClock()
    items.answers["a"] = [ZeroDivisionError("boom")]
    async with working(items, clock) as workers:
        workers.wake("a")
        await until(lambda: len(items.bugs) == 1)
        assert items.bugs[0][0] == "a"
        assert "ZeroDivisionError: boom" in items.bugs[0][1]


async def test_stopping_ends_pauses_and_takes_no_new_keys() -> None:
    items = Items()
    items.answers["a"] = [1e9]
    async with working(items, ManualClock()) as workers:
        workers.wake("a")
        await until(lambda: len(items.turns) == 1)
        workers.stop()
        workers.wake("c")
        await until(lambda: len(workers) == 0)
    assert "c" not in items.turns


PATIENCE = 60.0


def stuck(workers: Workers, clock: ManualClock) -> list[str]:
    found = find_stuck(
        workers.turns(), lag_seconds=0, now=clock.monotonic(), patience_seconds=PATIENCE
    )
    return [one.message for one in found]


async def test_a_turn_that_shows_no_sign_of_life_is_stuck() -> None:
    clock, items, gate = ManualClock(), Items(), asyncio.Event()

    async def hang(_key: str) -> None:
        await gate.wait()

    async with working(items, clock, hang) as workers:
        workers.wake("a")
        await asyncio.sleep(0)
        clock.advance(LONGEST_TURN + PATIENCE)
        assert stuck(workers, clock) == []
        clock.advance(1)
        assert stuck(workers, clock) == ["test has been at one turn for 1861 s"]
        gate.set()


async def test_a_turn_that_goes_on_may_take_as_long_as_it_likes() -> None:
    """As one that reads a large image from its host, part by part."""
    clock, items = ManualClock(), Items()
    parts = asyncio.Semaphore(0)

    async def read(_key: str) -> None:
        for _ in range(50):
            with bounded(120):
                await parts.acquire()

    async with working(items, clock, read) as workers:
        workers.wake("a")
        await asyncio.sleep(0)
        for _ in range(49):
            clock.advance(LONGEST_TURN)
            assert stuck(workers, clock) == []
            parts.release()
            await asyncio.sleep(0)
        clock.advance(LONGEST_TURN + PATIENCE + 1)
        assert stuck(workers, clock) == ["test has been at one turn for 1861 s"]
        parts.release()
        await until(lambda: len(workers) == 0)


async def test_of_things_at_once_the_longest_counts() -> None:
    clock, items, gate = ManualClock(), Items(), asyncio.Event()

    async def long(seconds: float) -> None:
        with bounded(seconds):
            await gate.wait()

    async def work(_key: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(long(9000))
            group.create_task(long(10))
            with bounded(5000):
                await asyncio.sleep(0)

    async with working(items, clock, work) as workers:
        workers.wake("a")
        for _ in range(5):
            await asyncio.sleep(0)
        clock.advance(9000 + PATIENCE)
        assert stuck(workers, clock) == []
        clock.advance(1)
        assert len(stuck(workers, clock)) == 1
        gate.set()


@pytest.mark.parametrize("verb", Verb)
async def test_i8_no_host_call_within_its_deadline_is_taken_for_a_daemon_that_hangs(
    verb: Verb, gate: Gate
) -> None:
    clock, items, threads = ManualClock(), Items(), Threads()
    lane, terms = Lane("h", threads), Terms(doing=verb, deadline_seconds=DEADLINE_SECONDS[verb])

    async def ask(_key: str) -> None:
        await lane.call(gate, terms)

    async with working(items, clock, ask) as workers:
        workers.wake("a")
        await until(lambda: gate.begun == 1)
        clock.advance(DEADLINE_SECONDS[verb] + LaneLimits().waiting_seconds)
        assert stuck(workers, clock) == []
        clock.advance(LONGEST_TURN + 2 * PATIENCE)
        assert len(stuck(workers, clock)) == 1
        gate.open()
        await until(lambda: len(workers) == 0)
    threads.close()


def test_pauses_grow_to_a_limit_that_is_longer_for_bugs() -> None:
    parking = Parking()
    pauses = [parking.failed("k") for _ in range(12)]
    assert 0.5 <= pauses[0] <= 1.0
    assert pauses[3] > pauses[0]
    assert LONGEST_SECONDS / 2 <= pauses[-1] <= LONGEST_SECONDS
    assert len(parking) == 1
    bugs = [parking.failed("bug", bug=True) for _ in range(20)]
    assert LONGEST_FOR_BUGS_SECONDS / 2 <= bugs[-1] <= LONGEST_FOR_BUGS_SECONDS
    parking.succeeded("k")
    assert parking.failures("k") == 0
