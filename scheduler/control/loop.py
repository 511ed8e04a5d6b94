"""The one shape of every background job: an idempotent pass, repeated, woken early, bounded.

A pass takes no arguments and is handed no data: what woke it is a hint, and it reads the truth
itself. A pass that fails or overruns ends the process, because a bug in the loop around the work
is nobody's to survive; faults of one host or one sandbox never get that far (see `parking`). Only
a database or a disk that refuses is waited for: ending would not bring it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from scheduler.clock import Clock
from scheduler.control.vitals import NEVER, Turn
from scheduler.errors import ReadOnly, Unavailable, Unreadable
from scheduler.statedir import DiskRefused

STORE_AGAIN_SECONDS = 2.0
"""How soon a pass that the store or the disk refused is repeated."""

LONGEST_SECONDS = 900.0
"""A pass without a limit is made of calls with deadlines; one that lasts longer than this hangs."""

PATIENCE_SECONDS = 300.0
"""A store that does not answer at all for this long ends the process; a full disk never does."""

_log = structlog.get_logger("scheduler.control")

Pass = Callable[[], Awaitable[float | None]]
"""One pass; it returns the seconds after which it wants to run again, or None for the period."""

Observer = Callable[[str, float], None]
"""Told each finished pass's loop name and its duration in seconds."""


def unobserved(_name: str, _seconds: float) -> None:
    """Tell nobody."""


class Loop:
    """Runs `work` every `every` seconds, sooner when woken, until stopped.

    However often it is woken, `rest` seconds lie between one pass and the next.
    """

    def __init__(
        self,
        name: str,
        work: Pass,
        *,
        every: float,
        limit: float | None,
        clock: Clock,
        rest: float = 0.0,
        longest: float = LONGEST_SECONDS,
        observe: Observer = unobserved,
    ) -> None:
        self.name = name
        self._work = work
        self._every = every
        self._limit = limit
        self._longest = longest if limit is None else limit
        self._rest = rest
        self._clock = clock
        self._observe = observe
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._silent_since: float | None = None
        self._working_since: float | None = None
        self._due_at = NEVER

    @property
    def turn(self) -> Turn:
        """Return where the loop is in its turn: a refusal by the store ends one too."""
        return Turn(
            name=self.name,
            working_since=self._working_since,
            longest_seconds=self._longest,
            due_at=self._due_at,
        )

    def wake(self) -> None:
        """Ask for a pass as soon as the present one, if any, has ended."""
        self._wake.set()

    def stop(self) -> None:
        """Let the present pass end and run no further one."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Run passes until stopped; a pass that overruns its limit raises TimeoutError."""
        while not self._stopping.is_set():
            self._wake.clear()
            self._working_since = self._clock.monotonic()
            again = await self._pass()
            pause = max(self._rest, self._every if again is None else again)
            self._working_since, self._due_at = None, self._clock.monotonic() + pause
            if self._rest > 0:
                await self._clock.wait(self._stopping, self._rest)
            if not self._stopping.is_set():
                await self._clock.wait(self._wake, pause - self._rest)
        self._due_at = NEVER

    async def _pass(self) -> float | None:
        begun = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._limit):
                again = await self._work()
        except (ReadOnly, Unavailable) as error:
            return self._refused(error)
        except Unreadable as error:
            # Ending would not mend the row; what it has to do with waits for somebody who does.
            _log.error("deferred", loop=self.name, code=error.code, error=error.message)
            return None
        self._silent_since = None
        self._observe(self.name, self._clock.monotonic() - begun)
        return again

    def _refused(self, error: ReadOnly | Unavailable) -> float:
        """Return when to ask again; raise what the store said when it has been silent long."""
        now = self._clock.monotonic()
        if isinstance(error, (ReadOnly, DiskRefused)):
            self._silent_since = None  # what says no so clearly does answer
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since >= PATIENCE_SECONDS:
            raise error
        _log.warning("deferred", loop=self.name, code=error.code, error=error.message)
        return STORE_AGAIN_SECONDS
