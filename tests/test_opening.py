"""Openings that take long: the supervisor hears of them, and a wish to stop is heeded."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest

from scheduler.notify import Notifier
from scheduler.opening import AGAIN_SECONDS, MORE_SECONDS, patiently, unless
from tests.clocks import ManualClock
from tests.supervisors import heard
from tests.waits import until


class Database:
    """Something that is opened when it is told to be, and not sooner."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.is_open = False

    async def open(self) -> None:
        await self.may_open.wait()
        self.is_open = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        await self.open()
        try:
            yield self
        finally:
            self.is_open = False


@pytest.fixture
def notifier(tmp_path: Path, supervisor: socket.socket) -> Iterator[Notifier]:
    assert supervisor.fileno() >= 0
    with closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})) as told:
        yield told


async def test_more_time_is_asked_for_until_it_is_open(
    supervisor: socket.socket, notifier: Notifier
) -> None:
    clock, database = ManualClock(), Database()

    async def use() -> None:
        opening = patiently(database.opened(), "opening it", notifier=notifier, clock=clock)
        async with opening as opened:
            assert opened.is_open
            clock.advance(10 * AGAIN_SECONDS)
            await asyncio.sleep(0)

    using = asyncio.create_task(use())
    words: list[str] = []

    def said(times: int) -> bool:
        words.extend(heard(supervisor))
        return len(words) >= times

    for times in range(1, 5):
        await until(partial(said, times))
        await asyncio.sleep(0)
        clock.advance(AGAIN_SECONDS)
    database.may_open.set()
    await using
    more = f"EXTEND_TIMEOUT_USEC={MORE_SECONDS * 1e6:.0f}\nSTATUS=opening it"
    assert words[:4] == [f"{more} ({turn * AGAIN_SECONDS:.0f} s so far)" for turn in range(4)]
    assert len(words + heard(supervisor)) <= 5, "nothing is asked for what is open"
    assert not database.is_open


async def test_what_cannot_be_opened_is_told_as_it_is(notifier: Notifier) -> None:
    class Broken(Database):
        async def open(self) -> None:
            raise ZeroDivisionError("boom")

    opening = patiently(Broken().opened(), "opening it", notifier=notifier, clock=ManualClock())
    with pytest.raises(ZeroDivisionError, match="boom"):
        async with opening:
            pass
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"asking for time"})


async def test_work_is_left_once_a_stop_is_asked_for() -> None:
    stop, told = asyncio.Event(), list[str]()
    ended: list[str] = []

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")
        return "done"

    leaving = asyncio.create_task(unless(stop, work(), told=lambda: told.append("stopping")))
    await asyncio.sleep(0)
    stop.set()
    assert await leaving is None
    assert (told, ended) == (["stopping"], ["ended"])


async def test_work_that_nobody_stops_is_done() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    async def late() -> None:
        raise TimeoutError("its own")

    assert await unless(asyncio.Event(), work(), told=pytest.fail) == "done"
    with pytest.raises(TimeoutError, match="its own"):
        await unless(asyncio.Event(), late(), told=pytest.fail)
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint({"heeding"})
