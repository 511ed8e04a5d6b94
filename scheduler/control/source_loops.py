"""The loops about source VMs: one prepares them, one looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.inspector import Inspector
from scheduler.control.preparer import Preparer
from scheduler.control.source_places import Drivers
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.guests.source_ways import SourceWays
from scheduler.ids import Prefix
from scheduler.store import Store


class SourceLoops:
    """Works on sources and inspections by their id; `told` hears of every step."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Drivers,
        ways: SourceWays,
        output_bytes: int,
        told: Callable[[], None],
        report_bug: BugReport,
    ) -> None:
        self._preparer = Preparer(store, clock, drivers=drivers, ways=ways, told=told)
        self._inspector = Inspector(
            store, clock, drivers=drivers, ways=ways, output_bytes=output_bytes, told=told
        )
        self._preparing = Workers(
            "prepare source", self._preparer.prepare, clock=clock, report_bug=report_bug
        )
        self._inspecting = Workers(
            "inspect source", self._inspector.inspect, clock=clock, report_bug=report_bug
        )
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def wake(self, id: str) -> None:
        """Work on a source or an inspection now."""
        looking = id.startswith(f"{Prefix.INSPECTION}-")
        (self._inspecting if looking else self._preparing).wake(id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        return (*self._preparing.turns(), *self._inspecting.turns())

    async def resume(self) -> None:
        """Go on with what a former daemon left unfinished."""
        for id in (*await self._preparer.pending(), *await self._inspector.pending()):
            self.wake(id)

    async def run(self) -> None:
        """Run until stopped."""
        async with asyncio.TaskGroup() as group:
            self._tasks = (
                group.create_task(self._preparing.run(), name="prepare sources"),
                group.create_task(self._inspecting.run(), name="inspect sources"),
            )

    def stop(self) -> None:
        """End both: what was begun is taken again by the next daemon, as after a crash."""
        self._preparing.stop()
        self._inspecting.stop()
        for task in self._tasks:
            task.cancel()
