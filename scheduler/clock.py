"""Time, passed in.

Rules take `now` as a value and loops take a `Clock`, so that tests own the time and never sleep.
Deadlines of work in flight are monotonic; only what users see and what outlives a reboot is wall
time.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Where wall time, monotonic time and waiting come from."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back within this process."""
        ...

    def boottime(self) -> float:
        """Return seconds since this machine booted, suspend included."""
        ...

    @property
    def boot_id(self) -> str:
        """Return what tells this boot of the machine from every other."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait until `event` is set or `seconds` have passed; return whether it was set."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return CLOCK_MONOTONIC in seconds."""
        return time.monotonic()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME in seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    @cached_property
    def boot_id(self) -> str:
        """Return the kernel's name for this boot."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait until `event` is set or `seconds` have passed; return whether it was set."""
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return event.is_set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return False
        return True
