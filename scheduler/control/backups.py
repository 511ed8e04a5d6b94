"""The daily backup: made by the daemon itself, so that there is one where nobody thought of it.

A day is counted from the newest one that is there, not from the daemon's start: who restarts often
has neither more of them nor fewer. Whatever the directory or its disk refuses is told, and stops
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.control.beside import OneLoop
from scheduler.control.calendar import waking
from scheduler.control.loop import Loop
from scheduler.control.tally import Tally, Untold
from scheduler.diagnosis.facts import BackupFacts
from scheduler.errors import SandboxdError
from scheduler.service.backups import find_backups, forget_backups, make_backup
from scheduler.store.config import store_config_of

DAY = timedelta(days=1)
SETTLED_SECONDS = 600.0
"""Not sooner after the start, when hosts and guests are waited for, and crashes come in a row."""
HOUR_SECONDS = 3600.0
LONGEST_SECONDS = 6 * HOUR_SECONDS
"""Before it is taken for one that hangs: a large database is copied, synced and read once more."""
LEFT_SHARE = 0.1
"""What a backup leaves of its disk: the database that lies on it matters more."""

_log = structlog.get_logger("scheduler.control")


class Backups:
    """Keeps a few backups of different days; `look` is a pass."""

    def __init__(
        self,
        state_dir: Path,
        database: Path | None,
        directory: Path,
        clock: Clock,
        *,
        keep: int,
        tally: Tally | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._keep = keep if database is not None else 0
        self._make = partial(make_backup, state_dir, database, directory, left_share=LEFT_SHARE)
        self._tally = tally or Untold()
        self._begun = clock.monotonic()
        self._newest_at: datetime | None = None
        self._left: tuple[Path, ...] = ()
        """What of former backups could not be removed, and is there still."""
        self._fault: str | None = None

    @classmethod
    def of(cls, settings: Settings, clock: Clock, tally: Tally) -> Self:
        """Return the backups that a configuration asks for."""
        database = store_config_of(settings).sqlite_path
        keep = settings.backups.keep
        return cls(settings.state_dir, database, settings.backup_dir, clock, keep=keep, tally=tally)

    def facts(self) -> BackupFacts:
        """Return what there was at the last look, and why there was not more.

        No disk is asked: one that does not answer would keep the caller waiting.
        """
        return BackupFacts(
            directory=str(self._directory),
            keep=self._keep,
            newest_at=self._newest_at,
            fault=self._fault,
        )

    async def look(self) -> float | None:
        """Make a backup if the newest is a day old; return when to look again if that is sooner."""
        if self._keep == 0:
            return None
        early = SETTLED_SECONDS - (self._clock.monotonic() - self._begun)
        # A thread that copies is not called back: nothing is left behind half.
        await asyncio.shield(asyncio.to_thread(self._see, settled=early <= 0))
        return early if early > 0 else None

    def _see(self, *, settled: bool) -> None:
        """Look what there is, and make one if it is due, once the daemon has settled."""
        now = self._clock.now()
        try:
            self._newest_at = None  # nothing can be restored of what cannot be read
            newest = next(iter(find_backups(self._directory, now)), None)
            self._newest_at = None if newest is None else newest.made_at
            if settled and (newest is None or not timedelta() <= now - newest.made_at < DAY):
                self._back_up(now)
            self._left = tuple(path for path in self._left if path.exists())
            self._fault = _told_of(self._left)
        except (SandboxdError, OSError) as error:
            self._fault = str(error)
            if settled:
                self._tally.backup_ended("failed")
            _log.warning("no backup", error=str(error), remedy=getattr(error, "remedy", None))
        # One that is dated later than now would pass for fresh until then.
        ahead = self._newest_at is not None and self._newest_at > now
        self._tally.backed_up(None if ahead else self._newest_at)

    def _back_up(self, now: datetime) -> None:
        made = self._make(now)
        self._newest_at = made.made_at
        self._tally.backup_ended("done")
        _log.info("backup", path=str(made.path))
        forgotten = forget_backups(self._directory, now, keep=self._keep)
        self._left = (*made.left, *forgotten)
        if self._left:
            _log.warning("backups cannot be removed", paths=[str(path) for path in self._left])


def _told_of(left: Sequence[Path]) -> str | None:
    if not left:
        return None
    return f"what is left of old backups cannot be removed: {', '.join(map(str, left))}"


class BackupLoop(OneLoop):
    """Runs them beside the other loops; the calendar wakes it once an hour."""

    def __init__(self, backups: Backups, clock: Clock) -> None:
        super().__init__(
            Loop(
                "backups",
                backups.look,
                every=HOUR_SECONDS,
                limit=None,
                longest=LONGEST_SECONDS,
                clock=clock,
            )
        )

    async def run(self) -> None:
        """Run until stopped."""
        with waking(self._loop.wake, every=timedelta(seconds=HOUR_SECONDS)):
            await super().run()
