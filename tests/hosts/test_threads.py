"""Threads for calls: made on demand, also by a machine that is short of them for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from scheduler.hosts.lanes import CallNotBegun, Lane, LaneLimits
from scheduler.hosts.threads import Job, Threads
from tests.hosts.calls import Gate, terms
from tests.waits import until


class Scarce:
    """A machine that begins no further thread while it is short of them."""

    def __init__(self) -> None:
        self.short = True
        self.refused = 0

    def begin(self, thread: threading.Thread) -> None:
        if self.short:
            self.refused += 1
            raise RuntimeError("can't start new thread")
        thread.start()


@pytest.fixture
def scarce() -> Scarce:
    return Scarce()


@pytest.fixture
def short(scarce: Scarce) -> Iterator[Threads]:
    made = Threads(begin=scarce.begin)
    yield made
    scarce.short = False
    made.close()


async def test_i8_a_call_gets_a_thread_once_the_machine_has_one_again(
    short: Threads, scarce: Scarce
) -> None:
    lane = Lane("h", short)
    calls = [asyncio.create_task(lane.call(lambda: "made", terms())) for _ in range(2)]
    await until(lambda: scarce.refused > 0, what="the first refusal")
    scarce.short = False
    assert await asyncio.gather(*calls) == ["made", "made"]


async def test_i8_a_call_that_gets_no_thread_is_not_begun_and_costs_no_lane(
    short: Threads, scarce: Scarce, gate: Gate
) -> None:
    lane = Lane("h", short, limits=LaneLimits(kept_seconds=0.01, abandoned=1))
    slots, ended = asyncio.Semaphore(1), threading.Event()
    wanted = terms(deadline_seconds=0.01, slots=slots, subject="domain-1")
    with pytest.raises(CallNotBegun, match="no thread could be had"):
        await lane.call(gate, wanted, ended=ended.set)
    assert lane.abandoned == 0
    scarce.short = False
    assert await lane.call(lambda: "made", terms(slots=slots, subject="domain-1")) == "made"
    assert ended.is_set()
    assert gate.begun == 0


async def test_a_call_without_a_thread_takes_the_first_that_is_idle(
    scarce: Scarce, gate: Gate
) -> None:
    scarce.short = False
    pool = Threads(begin=scarce.begin)
    lane = Lane("h", pool)
    first = asyncio.create_task(lane.call(gate, terms()))
    await until(lambda: gate.begun == 1, what="the call that keeps the only thread")
    scarce.short = True
    second = asyncio.create_task(lane.call(threading.current_thread, terms()))
    await until(lambda: scarce.refused > 0, what="the refusal of another thread")
    gate.open()
    assert await first == "late"
    assert (await second).name == "host-call"
    pool.close()


async def test_a_call_abandoned_before_its_thread_began_is_not_made() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return 1

    job = Job(make, made.append)
    job.keep_waiting()
    assert job.abandon()
    job.run()
    with pytest.raises(RuntimeError, match="before it began"):
        await job.returned
    assert not made


async def test_what_waits_for_a_thread_is_kept_until_it_begins() -> None:
    job = Job(lambda: None, None)
    job.keep_waiting()
    await until(lambda: job.kept_seconds > 0, what="the wait to be counted")
    job.run()
    assert job.kept_seconds == job.kept_seconds > 0


class Seen:
    """A lock that looks, whenever it is left, whether a call waits for a thread or was begun."""

    def __init__(self, job: Job[None]) -> None:
        self.sides: list[bool] = []
        self._job = job
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.sides.append((self._job._kept_since is not None) != self._job.begun)
        self._lock.release()


async def test_a_call_waits_for_a_thread_or_was_begun_and_nothing_lies_between() -> None:
    """Else a call that passes its deadline there would be told as one for which none was had."""
    job: Job[None] = Job(lambda: None, None)
    job.keep_waiting()
    job._lock = seen = Seen(job)  # type: ignore[assignment]
    job.run()
    assert len(seen.sides) > 1
    assert all(seen.sides)
