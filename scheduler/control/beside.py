"""Loops of their own noun that the control plane runs beside those of hosts and sandboxes."""

from __future__ import annotations

from typing import Protocol

from scheduler.control.loop import Loop
from scheduler.control.vitals import Turn


class Beside(Protocol):
    """What one daemon runs along with its other loops, from the first to the last."""

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        ...

    async def resume(self) -> None:
        """Go on with what a former daemon left unfinished."""
        ...

    async def run(self) -> None:
        """Run until stopped; parts in progress are finished first."""
        ...

    def stop(self) -> None:
        """Ask every loop to end after what it is doing."""
        ...


class OneLoop:
    """A single loop of which every pass looks at everything."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def turns(self) -> tuple[Turn, ...]:
        """Return where the loop is in its turn."""
        return (self._loop.turn,)

    async def resume(self) -> None:
        """Do nothing: the first pass finds what was left unfinished."""

    async def run(self) -> None:
        """Run until stopped."""
        await self._loop.run()

    def stop(self) -> None:
        """Ask the loop to end after its pass."""
        self._loop.stop()
