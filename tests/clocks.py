"""A clock that tests hold in their hands: time moves only when they say so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class ManualClock:
    """Wall, monotonic and boot time that move together by `advance`, apart by `set_wall`."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0
        self._boottime = 5000.0
        self._moved = asyncio.Event()
        self._boots = 1

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self._boottime

    @property
    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    def advance(self, seconds: float) -> None:
        """Let time pass everywhere."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        self._boottime += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock by so much, as an operator or NTP would."""
        self._now += timedelta(seconds=seconds)

    def reboot(self) -> None:
        """Have the machine boot just now, in no time."""
        self._boots += 1
        self._boottime = 5.0

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait for the event or for `advance` to have moved time far enough."""
        until = None if seconds is None else self._monotonic + seconds
        woken = asyncio.ensure_future(event.wait())
        try:
            while not event.is_set() and (until is None or self._monotonic < until):
                moved = asyncio.ensure_future(self._moved.wait())
                try:
                    await asyncio.wait({woken, moved}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    moved.cancel()
        finally:
            # Not awaited: that could take a cancellation of ours for theirs.
            woken.cancel()
        await asyncio.sleep(0)
        return event.is_set()


class HurriedClock(ManualClock):
    """A clock that jumps to the end of every wait."""

    def reboot(self) -> None:
        """Have the machine boot just now, in no time."""
        self._boots += 1
        self._boottime = 5.0

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        await asyncio.sleep(0)
        self.advance(seconds or 0)
        return event.is_set()
