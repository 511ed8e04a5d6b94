"""Feeds the supervisor's watchdog for as long as every part of the daemon turns.

It runs on the event loop that it vouches for: one that stands still feeds nothing. While something
is stuck nothing is fed either, so systemd ends us and starts us anew; what recovers in time is fed
again. An outage of the database is not our being stuck: the loops wait for it by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from scheduler.clock import Clock
from scheduler.control.loop import Loop
from scheduler.control.vitals import Stuck, Turn, find_stuck
from scheduler.notify import Notifier
from scheduler.store import Store

CHECK_SECONDS = 15.0
"""How often the parts are looked at when no supervisor waits for it."""
AGAIN_SECONDS = 1.0
"""How soon they are looked at again while one is stuck."""
PATIENCE_SECONDS = 60.0
"""By how much a part may be overdue when no supervisor says otherwise."""
WRITER_SECONDS = 10.0
"""How often the store's writer is asked for a sign of life."""

_log = structlog.get_logger("scheduler.control")


class Watchdog:
    """Looks at the parts of a daemon; `check` is the pass of a loop."""

    def __init__(
        self,
        clock: Clock,
        notifier: Notifier,
        *,
        turns: Callable[[], Iterable[Turn]],
        lag_seconds: Callable[[], float],
        count: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._notifier = notifier
        self._turns = turns
        self._lag_seconds = lag_seconds
        self._count = count
        self._patience = notifier.watchdog_seconds or PATIENCE_SECONDS
        self._stuck: tuple[Stuck, ...] = ()

    @property
    def every_seconds(self) -> float:
        """Return how often to check: twice in the time that the supervisor waits."""
        waits = self._notifier.watchdog_seconds
        return CHECK_SECONDS if waits is None else waits / 2

    def missing(self) -> tuple[str, ...]:
        """Return what keeps the daemon from being well, in words."""
        return tuple(one.message for one in self._stuck)

    async def check(self) -> float | None:
        """Feed the supervisor's watchdog unless something is stuck; return when to look again."""
        stuck = find_stuck(
            self._turns(),
            lag_seconds=self._lag_seconds(),
            now=self._clock.monotonic(),
            patience_seconds=self._patience,
        )
        self._count(len(stuck))
        self._tell(stuck)
        if stuck:
            return AGAIN_SECONDS
        self._notifier.alive()
        return None

    def _tell(self, stuck: tuple[Stuck, ...]) -> None:
        """Say once what is stuck, and once that all is well again."""
        before, self._stuck = self._stuck, stuck
        if {one.name for one in stuck} == {one.name for one in before}:
            return
        if stuck:
            _log.error("stuck; the watchdog is not fed", parts=self.missing())
            self._notifier.status(f"stuck: {'; '.join(self.missing())}")
        else:
            _log.info("nothing is stuck any more; the watchdog is fed again")
            self._notifier.status("running")


def writer_loop(store: Store, clock: Clock) -> Loop:
    """Return the loop whose turn ends when the store's writer answers, be it with a refusal."""
    ping = store.ping_writer
    return Loop("writer", ping, every=WRITER_SECONDS, limit=None, longest=0.0, clock=clock)
