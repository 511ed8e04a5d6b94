"""The loops about playbooks: their files, and what Ansible says to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scheduler.clock import Clock
from scheduler.control.loop import Loop
from scheduler.control.playbook_keeper import PlaybookKeeper
from scheduler.control.vitals import Turn
from scheduler.store import Store

KEEP_SECONDS = 600.0
REST_SECONDS = 0.5
"""Edits come in bursts; each is written, but not one by one."""


class PlaybookLoops:
    """Keeps files as the store has the plays; `told` is called when something was recorded."""

    def __init__(
        self, store: Store, clock: Clock, state_dir: Path, *, told: Callable[[], None]
    ) -> None:
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

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        return (self._keeping.turn,)

    async def resume(self) -> None:
        """Do nothing: every pass looks at everything."""

    async def run(self) -> None:
        """Run until stopped."""
        await self._keeping.run()

    def stop(self) -> None:
        """Ask the loop to end after its pass."""
        self._keeping.stop()
