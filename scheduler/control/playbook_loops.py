"""The loops about playbooks: their files, and what Ansible says to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.loop import Loop
from scheduler.control.playbook_keeper import PlaybookKeeper
from scheduler.control.playbook_player import PlaybookRunner, Player
from scheduler.control.tally import Tally
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.store import Store

KEEP_SECONDS = 600.0
LONGEST_SECONDS = 10.0**9
"""Every play has a limit of its own, and may wait long for its turn."""
REST_SECONDS = 0.5
"""Edits come in bursts; each is written, but not one by one."""


class PlaybookLoops:
    """Keeps files as the store has the plays; `told` is called when something was recorded."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        state_dir: Path,
        *,
        player: Player,
        tally: Tally,
        told: Callable[[], None],
        report_bug: BugReport,
    ) -> None:
        self._runner = PlaybookRunner(store, clock, player=player, tally=tally, told=told)
        self._running = Workers(
            "play playbook",
            self._runner.play,
            clock=clock,
            report_bug=report_bug,
            longest_seconds=LONGEST_SECONDS,
        )
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._keeping = Loop(
            "playbooks",
            PlaybookKeeper(store, clock, state_dir, told=told).keep,
            every=KEEP_SECONDS,
            limit=None,
            rest=REST_SECONDS,
            clock=clock,
        )

    def wake(self) -> None:
        """Say that a playbook was changed."""
        self._keeping.wake()

    def wake_run(self, run_id: str) -> None:
        """Say that a run is to be played, or to be cancelled."""
        self._runner.look_again(run_id)
        self._running.wake(run_id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        return (self._keeping.turn, *self._running.turns())

    async def resume(self) -> None:
        """See to the runs that a former daemon left."""
        for run_id in await self._runner.pending():
            self._running.wake(run_id)

    async def run(self) -> None:
        """Run until stopped; what was being played is told by the next daemon."""
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keeping.run(), name="keep playbooks")
            self._tasks = (group.create_task(self._running.run(), name="play playbooks"),)
            await keeping

    def stop(self) -> None:
        """Ask the loop to end after its pass, and let go of what is played."""
        self._keeping.stop()
        self._running.stop()
        for task in self._tasks:
            task.cancel()
