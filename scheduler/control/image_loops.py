"""The loops about images: taking in, bringing to hosts, keeping within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.image_keeper import ImageKeeper, ImagePace
from scheduler.control.ingestor import Ingestor
from scheduler.control.loop import Loop, Observer
from scheduler.control.replicas import ReplicaRecords, Standing
from scheduler.control.replicator import Replicator
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.hosts.driver import HostDriver
from scheduler.model import HostResources, Image
from scheduler.service.catalogue import Shelf
from scheduler.store import Store

KEEP_SECONDS = 60.0
PASS_LIMIT_SECONDS = 300.0


class ImageLoops:
    """Works on images by their id, and on replicas by `image/host`.

    `held` is told of an image that a host now holds, or lets go, and of the sandboxes there.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        shelf: Shelf,
        lag_seconds: Callable[[], float],
        pace: ImagePace,
        replicas: ReplicaRecords,
        drivers: Callable[[HostResources], HostDriver],
        held: Callable[[str, Collection[str]], Awaitable[None]],
        told: Callable[[], None],
        report_bug: BugReport,
        observe: Observer,
    ) -> None:
        self._catalogue = shelf.catalogue
        self._replicas = replicas
        self._held = held
        self._told = told
        self._ingestor = Ingestor(
            store,
            clock,
            drivers=drivers,
            files=shelf.files,
            changed=self._changed,
            most_bytes=pace.most_bytes,
            most_virtual_bytes=pace.most_virtual_bytes,
        )
        replicator = Replicator(
            replicas,
            clock,
            drivers=drivers,
            files=shelf.files,
            moved=self._moved,
            measured=shelf.catalogue.copied,
            lag_seconds=lag_seconds,
        )
        self._ingesting = Workers(
            "ingest", self._ingestor.ingest, clock=clock, report_bug=report_bug
        )
        self._replicating = Workers(
            "replicate", replicator.replicate, clock=clock, report_bug=report_bug
        )
        self._keeping = self._keeper(store, clock, pace, observe)

    def wake(self, key: str) -> None:
        """Work on an image or a replica now."""
        (self._replicating if "/" in key else self._ingesting).wake(key)

    def nudge(self, key: str) -> None:
        """Work on a replica unless somebody does, or pauses after a failure."""
        self._replicating.nudge(key)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn."""
        return (*self._ingesting.turns(), *self._replicating.turns(), self._keeping.turn)

    async def resume(self) -> None:
        """Go on with what a former daemon left unfinished."""
        for key in (*await self._ingestor.pending(), *await self._replicas.pending()):
            self.wake(key)

    async def run(self) -> None:
        """Run until stopped; parts in progress are finished first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ingesting.run(), name="ingest")
            group.create_task(self._replicating.run(), name="replicate")
            group.create_task(self._keeping.run(), name="keep images")

    def stop(self) -> None:
        """Ask every loop to end after what it is doing."""
        self._ingesting.stop()
        self._replicating.stop()
        self._keeping.stop()

    def _keeper(self, store: Store, clock: Clock, pace: ImagePace, observe: Observer) -> Loop:
        return Loop(
            "images",
            ImageKeeper(store, clock, pace, wake=self.wake).keep,
            every=KEEP_SECONDS,
            limit=PASS_LIMIT_SECONDS,
            clock=clock,
            observe=observe,
        )

    def _changed(self, image: Image) -> None:
        self._catalogue.put(image)
        self._told()

    async def _moved(self, standing: Standing) -> None:
        self._told()
        waiting = [clone.id for clone in standing.clones]
        await self._held(standing.image.id, waiting)
        if not standing.image.usable:
            self._ingesting.wake(standing.image.id)
