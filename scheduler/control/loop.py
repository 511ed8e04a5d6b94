"""The one shape of every background job: an idempotent pass, repeated, woken early, bounded.

A pass takes no arguments and is handed no data: what woke it is a hint, and it reads the truth
itself. A pass that fails or overruns ends the process, because a bug in the loop around the work
is nobody's to survive; faults of one host or one sandbox never get that far (see `parking`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scheduler.clock import Clock

Pass = Callable[[], Awaitable[float | None]]
"""One pass; it returns the seconds after which it wants to run again, or None for the period."""

Observer = Callable[[str, float], None]
"""Told each finished pass's loop name and its duration in seconds."""


def unobserved(_name: str, _seconds: float) -> None:
    """Tell nobody."""


class Loop:
    """Runs `work` every `every` seconds, sooner when woken, until stopped."""

    def __init__(
        self,
        name: str,
        work: Pass,
        *,
        every: float,
        limit: float | None,
        clock: Clock,
        observe: Observer = unobserved,
    ) -> None:
        self.name = name
        self.finished_at = clock.monotonic()
        """Monotonic seconds of the last finished pass, for the health of the daemon."""
        self._work = work
        self._every = every
        self._limit = limit
        self._clock = clock
        self._observe = observe
        self._wake = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Ask for a pass as soon as the present one, if any, has ended."""
        self._wake.set()

    def stop(self) -> None:
        """Let the present pass end and run no further one."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Run passes until stopped; a pass that overruns its limit raises TimeoutError."""
        while not self._stopping:
            self._wake.clear()
            begun = self._clock.monotonic()
            async with asyncio.timeout(self._limit):
                again = await self._work()
            self.finished_at = self._clock.monotonic()
            self._observe(self.name, self.finished_at - begun)
            if not self._stopping:
                await self._clock.wait(self._wake, self._every if again is None else again)
