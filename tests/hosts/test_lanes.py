"""Bounds of a host's calls: deadlines, abandoned threads, queues, cancelled callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from scheduler.errors import HostTimeout
from scheduler.hosts import threads as threads_room
from scheduler.hosts.lanes import CallNotBegun, Lane, LaneLimits
from scheduler.hosts.threads import NEW_AT_ONCE, Threads, Turn
from tests.hosts.calls import HANGS_SECONDS, Gate, terms
from tests.jumps import in_jumps, pass_time
from tests.waits import DEADLINE_SECONDS, until

MARGIN_SECONDS = 600
"""What the machine may be slow by between two lines of a test."""
PATIENT = LaneLimits(waiting_seconds=10 * MARGIN_SECONDS, kept_seconds=10 * MARGIN_SECONDS)


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads()
    yield made
    made.close()


async def hang(lane: Lane, gate: Gate, **values: object) -> None:
    """Make a call that passes its deadline."""
    with pytest.raises(HostTimeout):
        await lane.call(gate, terms(deadline_seconds=0.01, **values))


async def test_a_call_returns_its_result(threads: Threads) -> None:
    assert await Lane("h", threads).call(lambda: 42, terms()) == 42


async def test_a_call_raises_its_own_error(threads: Threads) -> None:
    def fail() -> None:
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        await Lane("h", threads).call(fail, terms())


async def test_a_call_runs_beside_the_loop_on_a_daemon_thread(threads: Threads) -> None:
    thread = await Lane("h", threads).call(threading.current_thread, terms())
    assert thread is not threading.current_thread()
    assert thread.daemon


async def test_idle_threads_are_used_again(threads: Threads) -> None:
    lane = Lane("h", threads)
    seen = set[int]()
    for _ in range(5):
        seen.add(await lane.call(threading.get_ident, terms()))
        await until(lambda: len(threads._idle) == 1, what="the thread to be idle")
    assert len(seen) == 1


async def test_a_call_past_its_deadline_is_abandoned_and_others_go_on(
    threads: Threads, gate: Gate
) -> None:
    lane = Lane("h", threads)
    with pytest.raises(HostTimeout, match=r"h did not answer within 0\.01 s.*unknown"):
        await lane.call(gate, terms(deadline_seconds=0.01))
    assert lane.abandoned == 1
    assert await lane.call(lambda: "fine", terms()) == "fine"
    gate.open()
    await until(lambda: lane.abandoned == 0, what="the abandoned call to return")


class Kept:
    """Calls that take a turn, and whether one waits for it, in the time of a loop in jumps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turn = Turn()
        self._jobs: list[threads_room.Job[Any]] = []
        monkeypatch.setattr(threads_room, "monotonic", asyncio.get_running_loop().time)

    def taking(self, more: Callable[[], str]) -> Callable[[], str]:
        def call() -> str:
            self._jobs.append(threads_room._here.job)
            with self.turn:
                return more()

        return call

    def waits(self) -> bool:
        return any(job._kept_since is not None for job in self._jobs)


def test_i8_what_a_call_waits_for_a_turn_of_ours_is_no_delay_of_its_hosts(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        lane, kept = Lane("h", threads, limits=PATIENT), Kept(monkeypatch)
        with kept.turn:
            own = terms(deadline_seconds=MARGIN_SECONDS)
            call = asyncio.create_task(lane.call(kept.taking(lambda: "in time"), own))
            await until(kept.waits, what="the call to wait for its turn")
            await pass_time(2 * MARGIN_SECONDS)
            assert not call.done()
        assert await call == "in time"
        assert own.spent.waited_seconds >= 2 * MARGIN_SECONDS
        assert own.spent.seconds is not None
        assert own.spent.seconds < MARGIN_SECONDS

    in_jumps(test())


def test_i8_a_hosts_own_delay_counts_after_a_turn_of_ours(
    threads: Threads, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        lane, kept = Lane("h", threads, limits=PATIENT), Kept(monkeypatch)
        with kept.turn:
            own = terms(deadline_seconds=MARGIN_SECONDS)
            call = asyncio.create_task(lane.call(kept.taking(gate), own))
            await until(kept.waits, what="the call to wait for its turn")
            await pass_time(2 * MARGIN_SECONDS)
        await until(lambda: gate.begun == 1, what="the call to be its host's")
        assert not call.done()
        await pass_time(MARGIN_SECONDS)
        with pytest.raises(HostTimeout):
            await call
        assert lane.abandoned == 1
        assert own.spent.waited_seconds >= 2 * MARGIN_SECONDS
        assert own.spent.seconds is not None
        assert MARGIN_SECONDS <= own.spent.seconds < 2 * MARGIN_SECONDS

    in_jumps(test())


def test_what_a_call_waits_for_its_slot_is_told_apart_from_its_host_s_time(
    threads: Threads, gate: Gate
) -> None:
    async def test() -> None:
        lane, slots = Lane("h", threads, limits=PATIENT), asyncio.Semaphore(1)
        first = asyncio.create_task(lane.call(gate, terms(slots=slots, deadline_seconds=10**6)))
        await until(lambda: gate.begun == 1, what="the first call to be its host's")
        own = terms(slots=slots)
        second = asyncio.create_task(lane.call(lambda: "fine", own))
        await pass_time(MARGIN_SECONDS)
        gate.open()
        assert (await first, await second) == ("late", "fine")
        assert own.spent.waited_seconds >= MARGIN_SECONDS
        assert own.spent.seconds is not None
        assert own.spent.seconds < MARGIN_SECONDS

    in_jumps(test())


async def test_a_call_that_is_not_begun_was_never_with_its_host(
    threads: Threads, gate: Gate
) -> None:
    lane, own = Lane("h", threads), terms()
    for _ in range(4):
        await hang(lane, gate)
    with pytest.raises(CallNotBegun):
        await lane.call(lambda: None, own)
    assert own.spent.seconds is None


async def test_calls_that_wait_for_threads_are_all_made(threads: Threads) -> None:
    lanes = [Lane(f"h{number}", threads) for number in range(100)]
    calls = [lane.call(partial(int, number), terms()) for number, lane in enumerate(lanes)]
    assert await asyncio.gather(*calls) == list(range(100))


async def test_i8_hung_calls_keep_their_places_for_a_moment_only(
    threads: Threads, gate: Gate
) -> None:
    hung = [
        asyncio.create_task(Lane(f"h{number}", threads).call(gate, terms()))
        for number in range(NEW_AT_ONCE)
    ]
    await until(lambda: gate.begun == NEW_AT_ONCE, what="all places to be taken")
    assert await Lane("well", threads).call(lambda: "fine", terms()) == "fine"
    gate.open()
    assert await asyncio.gather(*hung) == ["late"] * NEW_AT_ONCE


def test_a_call_is_not_made_when_others_hung_while_it_waited_for_a_place(
    threads: Threads, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_room, "NEW_SECONDS", 2 * MARGIN_SECONDS)

    async def test() -> None:
        lane = Lane("h", threads, limits=LaneLimits(abandoned=1))
        places = [await threads.place() for _ in range(NEW_AT_ONCE - 1)]
        call = asyncio.create_task(lane.call(gate, terms(deadline_seconds=MARGIN_SECONDS)))
        await until(lambda: gate.begun == 1, what="the last place to be taken")
        waiting = asyncio.create_task(lane.call(lambda: "never", terms()))
        await pass_time(MARGIN_SECONDS)
        with pytest.raises(HostTimeout):
            await call
        for place in places:
            place.leave()
            place.leave()
        with pytest.raises(CallNotBegun):
            await waiting
        assert await Lane("well", threads).call(lambda: "fine", terms()) == "fine"

    in_jumps(test())


async def test_four_abandoned_calls_close_the_lane_until_one_returns(
    threads: Threads, gate: Gate
) -> None:
    lane, other = Lane("h", threads), Lane("other", threads)
    for _ in range(4):
        await hang(lane, gate)
    with pytest.raises(CallNotBegun, match="4 earlier calls"):
        await lane.call(lambda: "never", terms())
    await until(lambda: gate.begun == 4, what="the calls that were abandoned to be at it")
    assert await other.call(lambda: "fine", terms()) == "fine"
    gate.open()
    await until(lambda: lane.abandoned == 0, what="the abandoned calls to return")
    assert await lane.call(lambda: "fine", terms()) == "fine"


async def test_a_second_call_on_a_hung_subject_is_not_begun(threads: Threads, gate: Gate) -> None:
    lane = Lane("h", threads)
    await hang(lane, gate, subject="domain-1")
    with pytest.raises(CallNotBegun, match="domain-1 still hangs"):
        await lane.call(lambda: "never", terms(subject="domain-1"))
    assert await lane.call(lambda: "fine", terms(subject="domain-2")) == "fine"


async def test_no_more_calls_run_at_once_than_there_are_slots(threads: Threads, gate: Gate) -> None:
    lane, slots = Lane("h", threads), asyncio.Semaphore(3)
    calls = [asyncio.create_task(lane.call(gate, terms(slots=slots))) for _ in range(5)]
    await until(lambda: gate.begun == 3, what="three calls to begin")
    await asyncio.sleep(0)
    assert gate.begun == 3
    gate.open()
    assert await asyncio.gather(*calls) == ["late"] * 5


async def test_a_slot_stays_taken_for_as_long_as_its_call_hangs(
    threads: Threads, gate: Gate
) -> None:
    lane = Lane("h", threads, limits=LaneLimits(waiting_seconds=0.01))
    slots = asyncio.Semaphore(1)
    await hang(lane, gate, slots=slots)
    with pytest.raises(CallNotBegun, match=r"no call ended for 0\.01 s"):
        await lane.call(lambda: "never", terms(slots=slots))
    gate.open()
    await until(lambda: not slots.locked(), what="the slot")
    assert await lane.call(lambda: "fine", terms(slots=slots)) == "fine"


async def test_the_queue_is_bounded(threads: Threads, gate: Gate) -> None:
    lane = Lane("h", threads, limits=LaneLimits(waiting=1))
    slots = asyncio.Semaphore(1)
    running = asyncio.create_task(lane.call(gate, terms(slots=slots)))
    await until(lambda: gate.begun == 1)
    waiting = asyncio.create_task(lane.call(gate, terms(slots=slots)))
    await asyncio.sleep(0)
    with pytest.raises(CallNotBegun, match="1 calls wait already"):
        await lane.call(lambda: "never", terms(slots=slots))
    gate.open()
    assert [await running, await waiting] == ["late", "late"]


async def test_calls_that_waited_are_not_begun_once_the_lane_is_closed(
    threads: Threads, gate: Gate
) -> None:
    lane = Lane("h", threads, limits=LaneLimits(abandoned=1))
    slots = asyncio.Semaphore(1)
    last = asyncio.create_task(lane.call(gate, terms(slots=slots)))
    await until(lambda: gate.begun == 1)
    waiting = asyncio.create_task(lane.call(lambda: "never", terms(slots=slots)))
    await asyncio.sleep(0)
    hung = Gate()
    await hang(lane, hung)
    gate.open()
    assert await last == "late"
    with pytest.raises(CallNotBegun, match="1 earlier calls"):
        await waiting
    assert not slots.locked()
    hung.open()


async def test_a_cancelled_caller_leaves_its_call_counted(threads: Threads, gate: Gate) -> None:
    lane, ended = Lane("h", threads), threading.Event()
    call = asyncio.create_task(lane.call(gate, terms(), ended=ended.set))
    await until(lambda: gate.begun == 1)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    assert lane.abandoned == 1
    assert not ended.is_set()
    gate.open()
    await until(ended.is_set, what="the end of the call")
    assert lane.abandoned == 0


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
async def test_a_late_result_is_handed_to_whoever_lets_go_of_it(
    threads: Threads, gate: Gate, leave: str
) -> None:
    lane, late = Lane("h", threads), list[str]()
    seconds = 0.01 if leave == "deadline" else HANGS_SECONDS
    call = asyncio.create_task(lane.call(gate, terms(deadline_seconds=seconds), late=late.append))
    await until(lambda: gate.begun == 1)
    if leave == "cancel":
        call.cancel()
    await asyncio.wait({call})
    gate.open()
    await until(lambda: late == ["late"], what="the late result")


async def test_a_result_that_crosses_the_cancellation_is_let_go_of_too(threads: Threads) -> None:
    lane, late, returned = Lane("h", threads), list[str](), threading.Event()
    call = asyncio.create_task(lane.call(_returning(returned), terms(), late=late.append))
    await asyncio.sleep(0)
    assert returned.wait(
        DEADLINE_SECONDS
    )  # the loop stands still, so that the result cannot be taken
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: late == ["result"], what="the result nobody took")


def _returning(returned: threading.Event) -> Callable[[], str]:
    def call() -> str:
        returned.set()
        return "result"

    return call


async def test_a_call_that_is_not_begun_has_ended(threads: Threads, gate: Gate) -> None:
    lane = Lane("h", threads, limits=LaneLimits(abandoned=1))
    ended: list[str] = []
    await hang(lane, gate)
    with pytest.raises(CallNotBegun):
        await lane.call(lambda: "never", terms(), ended=lambda: ended.append("ended"))
    assert ended == ["ended"]


async def test_closed_threads_end_and_late_calls_still_run() -> None:
    threads = Threads()
    lane = Lane("h", threads)
    worker = await lane.call(threading.current_thread, terms())
    threads.close()
    await until(lambda: not worker.is_alive(), what="the idle thread to end")
    last = await lane.detach(threading.current_thread)
    await until(lambda: not last.is_alive(), what="the last thread to end")


async def test_only_so_many_idle_threads_are_kept(gate: Gate) -> None:
    threads = Threads(idle_limit=1)
    lane, used = Lane("h", threads), set[threading.Thread]()

    def call() -> str:
        used.add(threading.current_thread())
        return gate()

    def alive() -> int:
        return sum(thread.is_alive() for thread in used)

    calls = [asyncio.create_task(lane.call(call, terms())) for _ in range(3)]
    await until(lambda: gate.begun == 3)
    gate.open()
    await asyncio.gather(*calls)
    assert len(used) == 3
    await until(lambda: alive() == 1, what="those beyond the limit to end")
    assert await lane.call(threading.current_thread, terms()) in used
    threads.close()
    await until(lambda: alive() == 0, what="the one that was kept to end")
