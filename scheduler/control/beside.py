"""Loops of their own noun that the control plane runs beside those of hosts and sandboxes."""

from __future__ import annotations

from typing import Protocol

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
