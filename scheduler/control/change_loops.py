"""The loops about change sets: one writes and has them judged, one verifies them on clones.

A third removes what was kept of guests for them and that nothing needs any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.change_set_writer import ChangeSetWriter
from scheduler.control.clones import Clones
from scheduler.control.evidence import GuestOnlooker, RecordedEvidence
from scheduler.control.loop import Loop
from scheduler.control.manifest_keeper import ManifestKeeper
from scheduler.control.tally import Tally
from scheduler.control.verifier import Surroundings, Verifier
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.guests.connections import GuestConnections
from scheduler.guests.manifests import Manifests
from scheduler.guests.players import AnsiblePlayer
from scheduler.guests.ways import GuestWays
from scheduler.publishing.change_checks import checks
from scheduler.publishing.change_files import ChangeFiles
from scheduler.store import Store

COLLECT_SECONDS = 86400.0
LONGEST_SECONDS = 4 * 3600.0
"""How long looking through thousands of manifests may take, one after the other."""


class ChangeLoops:
    """Works on change sets by their id; `told` hears of every step."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        surroundings: Surroundings,
        *,
        keeping: Loop,
        told: Callable[[], None],
        report_bug: BugReport,
    ) -> None:
        self._writer = ChangeSetWriter(
            store,
            clock,
            files=surroundings.files,
            deltas=surroundings.evidence,
            contents=surroundings.contents,
            judge=checks,
            told=told,
        )
        self._verifier = Verifier(store, clock, surroundings, told=told)
        self._writing = Workers(
            "write change set", self._writer.make, clock=clock, report_bug=report_bug
        )
        self._verifying = Workers(
            "verify change set", self._verifier.verify, clock=clock, report_bug=report_bug
        )
        self._keeping = keeping
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @classmethod
    def over(
        cls,
        store: Store,
        clock: Clock,
        *,
        files: ChangeFiles,
        manifests: Manifests,
        guests: GuestConnections,
        ways: GuestWays,
        clones: Callable[[], Clones],
        told: Callable[[], None],
        tally: Tally,
        report_bug: BugReport,
    ) -> Self:
        """Return the loops over the real guests, manifests and tools."""
        surroundings = Surroundings(
            clones=clones,
            player=AnsiblePlayer(ways),
            onlooker=GuestOnlooker(guests, manifests),
            evidence=RecordedEvidence(store, manifests),
            contents=manifests.contents,
            files=files,
        )
        keeping = Loop(
            "manifests",
            ManifestKeeper(store, manifests, tally=tally).keep,
            every=COLLECT_SECONDS,
            limit=None,
            longest=LONGEST_SECONDS,
            clock=clock,
            observe=tally.passed,
        )
        return cls(store, clock, surroundings, keeping=keeping, told=told, report_bug=report_bug)

    def wake(self, id: str) -> None:
        """Make a change set now."""
        self._writing.wake(id)

    def wake_verification(self, id: str) -> None:
        """Verify a change set now."""
        self._verifying.wake(id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        return (*self._writing.turns(), *self._verifying.turns(), self._keeping.turn)

    async def resume(self) -> None:
        """Go on with what a former daemon left unfinished."""
        for id in await self._writer.pending():
            self.wake(id)
        for id in await self._verifier.pending():
            self.wake_verification(id)

    async def run(self) -> None:
        """Run until stopped; what tools and plays were at is begun again by the next daemon."""
        async with asyncio.TaskGroup() as group:
            self._tasks = (
                group.create_task(self._writing.run(), name="write change sets"),
                group.create_task(self._verifying.run(), name="verify change sets"),
                group.create_task(self._keeping.run(), name="keep manifests"),
            )

    def stop(self) -> None:
        """End the loops at once: a play may take longer than anybody waits for a daemon."""
        self._writing.stop()
        self._verifying.stop()
        self._keeping.stop()
        for task in self._tasks:
            task.cancel()
