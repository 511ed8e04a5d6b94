"""One task for each item that has work to do, and never two for one.

Level-triggered: waking says only that there may be something to do. A worker ends when its item is
settled, so that a quiet fleet costs no tasks at all. A turn may take as long as it likes if only it
shows signs of life.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextvars import Context

import structlog

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.parking import Parking
from scheduler.control.vitals import NEVER, Turn
from scheduler.errors import SandboxdError
from scheduler.signs_of_life import watched

Work = Callable[[str], Awaitable[float | None]]
"""Work on one item; returns the seconds after which to go on, or None when it is settled."""

LONGEST_SECONDS = 1800.0
"""A turn that shows no sign of life for so long hangs, unless what it does may take longer."""

_log = structlog.get_logger("scheduler.control")


class Workers:
    """Keeps at most one task a key at work; a key that fails is parked, the others go on."""

    def __init__(
        self,
        name: str,
        work: Work,
        *,
        clock: Clock,
        report_bug: BugReport,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self.parking = Parking()
        self._longest_seconds = longest_seconds
        self._name = name
        self._work = work
        self._clock = clock
        self._report_bug = report_bug
        self._events: dict[str, asyncio.Event] = {}
        self._early: set[str] = set()
        self._turns: dict[str, Turn | _AtWork] = {}
        self._group: asyncio.TaskGroup | None = None
        self._stopping = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def turns(self) -> tuple[Turn, ...]:
        """Return where each item's worker is: one that hangs says nothing of the others."""
        return tuple(one.turn if isinstance(one, _AtWork) else one for one in self._turns.values())

    def wake(self, key: str) -> None:
        """Work on `key` now, even when it is pausing after a failure."""
        event = self._events.get(key)
        if event is not None:
            event.set()
        else:
            self.nudge(key)

    def nudge(self, key: str) -> None:
        """Work on `key` unless somebody does already; a pause after a failure is respected."""
        if key in self._events or self._stopping.is_set():
            return
        if self._group is None:
            self._early.add(key)
            return
        event = self._events[key] = asyncio.Event()
        # It outlives whatever woke it, a request or another's work, and is no part of that.
        self._group.create_task(
            self._attend(key, event), name=f"{self._name} {key}", context=Context()
        )

    async def run(self) -> None:
        """Attend to every woken key until stopped; work in progress is finished first."""
        async with asyncio.TaskGroup() as self._group:
            early, self._early = self._early, set()
            for key in sorted(early):
                self.nudge(key)
            await self._stopping.wait()
            for event in self._events.values():
                event.set()
        self._group = None

    def stop(self) -> None:
        """Let each worker end after the step it is taking."""
        self._stopping.set()

    async def _attend(self, key: str, event: asyncio.Event) -> None:
        try:
            while not self._stopping.is_set():
                event.clear()
                self._turns[key] = at_work = _AtWork(self._name, self._clock, self._longest_seconds)
                with watched(at_work):
                    pause = await self._once(key)
                if pause is not None:
                    self._turns[key] = self._resting(pause)
                    await self._clock.wait(event, pause)
                elif not event.is_set():
                    return
        finally:
            del self._events[key]
            self._turns.pop(key, None)

    def _resting(self, pause: float) -> Turn:
        return Turn(
            name=self._name,
            working_since=None,
            longest_seconds=self._longest_seconds,
            due_at=self._clock.monotonic() + pause,
        )

    async def _once(self, key: str) -> float | None:
        try:
            pause = await self._work(key)
        except SandboxdError as error:
            pause = self.parking.failed(key)
            _log.warning(
                "parked",
                loop=self._name,
                key=key,
                code=error.code,
                error=error.message,
                seconds=round(pause, 1),
            )
        except Exception:
            pause = self.parking.failed(key, bug=True)
            evidence = traceback.format_exc()
            _log.exception("parked", loop=self._name, key=key, seconds=round(pause, 1))
            await self._report_bug(key, evidence)
        else:
            self.parking.succeeded(key)
        return pause


class _AtWork:
    """A turn that is taken, and the bounded things that are under way in it."""

    def __init__(self, name: str, clock: Clock, longest_seconds: float) -> None:
        self._name = name
        self._clock = clock
        self._longest_seconds = longest_seconds
        self._since = clock.monotonic()
        self._ends: dict[object, float] = {}

    @property
    def turn(self) -> Turn:
        """Return the turn as it is, counted from its last sign of life."""
        last_end = max(self._ends.values(), default=self._since)
        return Turn(
            name=self._name,
            working_since=self._since,
            longest_seconds=max(self._longest_seconds, last_end - self._since),
            due_at=NEVER,
        )

    def expect(self, seconds: float) -> Callable[[], None]:
        """Bear with something that takes so long at most."""
        mark = object()
        self._since = self._clock.monotonic()
        self._ends[mark] = self._since + seconds

        def ended() -> None:
            del self._ends[mark]
            self._since = self._clock.monotonic()

        return ended
