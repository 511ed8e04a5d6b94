"""The loop about commands in guests."""

from __future__ import annotations

from collections.abc import Callable

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.commander import Commander, Guests
from scheduler.control.tally import Tally
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.service.errands import Errands
from scheduler.store import Store

LONGEST_SECONDS = 10.0**9
"""A command has a time limit of its own, and only a caller knows how long is too long."""


class CommandLoops:
    """Works on commands by their id."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        guests: Guests,
        errands: Errands,
        tally: Tally,
        told: Callable[[], None],
        report_bug: BugReport,
    ) -> None:
        self._commander = Commander(
            store, clock, guests=guests, errands=errands, tally=tally, told=told
        )
        self._commanding = Workers(
            "command",
            self._commander.carry_out,
            clock=clock,
            report_bug=report_bug,
            longest_seconds=LONGEST_SECONDS,
        )

    def wake(self, command_id: str) -> None:
        """Work on a command now; one at work is looked at again."""
        self._commander.nudge(command_id)
        self._commanding.wake(command_id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every command's worker is in its turn."""
        return self._commanding.turns()

    async def resume(self) -> None:
        """See to what a former daemon left running."""
        for command_id in await self._commander.pending():
            self._commanding.wake(command_id)

    async def run(self) -> None:
        """Run until stopped."""
        await self._commanding.run()

    def stop(self) -> None:
        """Let go of what runs, and end."""
        self._commander.stop()
        self._commanding.stop()
