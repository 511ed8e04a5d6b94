"""A command's terminal by itself: who is shown what, who waits for whom, and how it ends."""

from __future__ import annotations

import asyncio

from scheduler.guests.terminals import (
    MOST_LEFT_BYTES,
    MOST_UNSHOWN_BYTES,
    Terminal,
    Window,
)

SMALL, LARGE = Window(columns=80, rows=24), Window(columns=200, rows=50)


class GuestSide:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self._held = False

    def resize(self, window: Window) -> None:
        self.windows.append(window)

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False

    def is_held(self) -> bool:
        return self._held


def opened() -> tuple[Terminal, GuestSide]:
    terminal, line = Terminal(SMALL, "xterm"), GuestSide()
    terminal.open(line)
    return terminal, line


async def test_its_size_is_told_when_it_opens_and_whenever_it_changes() -> None:
    terminal, line = Terminal(SMALL, "xterm"), GuestSide()
    terminal.resize(LARGE)
    assert line.windows == []
    waiting = asyncio.ensure_future(terminal.opened())
    terminal.open(line)
    assert await waiting
    terminal.resize(SMALL)
    assert line.windows == [LARGE, SMALL]


async def test_what_is_written_is_shown_in_order_and_the_end_comes_after_it() -> None:
    terminal, _ = opened()
    waiting = asyncio.ensure_future(terminal.shown())
    await asyncio.sleep(0)
    terminal.show(b"a")
    assert await waiting == b"a"
    terminal.show(b"b")
    terminal.show(b"c")
    terminal.end()
    terminal.show(b"too late")
    assert [await terminal.shown(), await terminal.shown()] == [b"bc", b""]


async def test_i8_a_guest_waits_for_whoever_looks() -> None:
    terminal, line = opened()
    terminal.show(b"x" * MOST_UNSHOWN_BYTES)
    assert not line.is_held()
    terminal.show(b"x")
    assert line.is_held()
    assert len(await terminal.shown()) == MOST_UNSHOWN_BYTES + 1
    assert not line.is_held()


async def test_i8_once_the_program_has_ended_nobody_waits_and_so_much_is_left() -> None:
    terminal, line = opened()
    terminal.show(b"x" * (MOST_UNSHOWN_BYTES + 1))
    terminal.finish()
    assert not line.is_held()
    terminal.show(b"y" * MOST_LEFT_BYTES)
    terminal.show(b"z")
    assert not line.is_held()
    assert len(await terminal.shown()) == MOST_LEFT_BYTES


async def test_nobody_who_looks_holds_up_nothing() -> None:
    terminal, line = opened()
    terminal.show(b"x" * (MOST_UNSHOWN_BYTES + 1))
    terminal.leave()
    terminal.show(b"x" * (MOST_UNSHOWN_BYTES + 1))
    assert not line.is_held()
    terminal.end()
    assert await terminal.shown() == b""


async def test_one_that_the_guest_never_had_does_not_open() -> None:
    terminal = Terminal(SMALL, "xterm")
    waiting = asyncio.ensure_future(terminal.opened())
    await asyncio.sleep(0)
    terminal.leave()
    terminal.end()
    assert not await waiting
