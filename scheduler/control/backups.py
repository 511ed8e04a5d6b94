"""The daily backup: made by the daemon itself, so that there is one where nobody thought of it.

A day is counted from the newest one that is there, not from the daemon's start: who restarts often
has neither more of them nor fewer.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
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
from scheduler.errors import SandboxdError, Unavailable
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
        self._fault: str | None = None

    @classmethod
    def of(cls, settings: Settings, clock: Clock, tally: Tally) -> Self:
        """Return the backups that a configuration asks for."""
        database = store_config_of(settings).sqlite_path
        keep = settings.backups.keep
        return cls(settings.state_dir, database, settings.backup_dir, clock, keep=keep, tally=tally)

    def facts(self) -> BackupFacts:
        """Return what there is, and why there is not more."""
        newest_at, fault = None, self._fault
        try:
            newest_at = self._newest(self._clock.now())
        except Unavailable as error:
            fault = error.message
        return BackupFacts(
            directory=str(self._directory), keep=self._keep, newest_at=newest_at, fault=fault
        )

    async def look(self) -> float | None:
        """Make a backup if the newest is a day old; return when to look again if that is sooner."""
        if self._keep == 0:
            return None
        early = SETTLED_SECONDS - (self._clock.monotonic() - self._begun)
        if early > 0:
            await asyncio.to_thread(self._tell, self._clock.now())
            return early
        # A thread that copies is not called back: nothing is left behind half.
        await asyncio.shield(asyncio.to_thread(self._due))
        return None

    def _newest(self, now: datetime) -> datetime | None:
        newest = next(iter(find_backups(self._directory, now)), None)
        return None if newest is None else newest.made_at

    def _due(self) -> None:
        now = self._clock.now()
        try:
            newest_at = self._newest(now)
            if newest_at is None or not timedelta() <= now - newest_at < DAY:
                self._make_one(now)
            self._fault = None
        except SandboxdError as error:
            self._fault = error.message
            self._tally.backup_ended("failed")
            _log.warning("no backup", error=error.message, remedy=error.remedy)
        self._tell(now)

    def _tell(self, now: datetime) -> None:
        newest_at = None
        with suppress(Unavailable):  # nothing can be restored of what cannot be read
            newest_at = self._newest(now)
        # One that is dated later than now would pass for fresh until then.
        self._tally.backed_up(newest_at if newest_at is None or newest_at <= now else None)

    def _make_one(self, now: datetime) -> None:
        made = self._make(now)
        self._tally.backup_ended("done")
        forget_backups(self._directory, now, keep=self._keep)
        _log.info("backup", path=str(made.path))


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
        with waking(self._loop.wake):
            await super().run()
