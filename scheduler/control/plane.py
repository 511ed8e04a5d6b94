"""All loops together: what wakes which, and how they begin and end.

A bug in a loop ends them all, and with them the process: systemd starts it again, and everything
goes on from what is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import Protocol

from scheduler.clock import Clock
from scheduler.control.beside import Beside
from scheduler.control.breakers import Breakers
from scheduler.control.bugs import BugRecorder
from scheduler.control.build_queue import BuildQueue
from scheduler.control.calendar import waking
from scheduler.control.captures import Captures
from scheduler.control.clock_guard import ClockGuard
from scheduler.control.command_loops import CommandLoops
from scheduler.control.console_loops import ConsoleLoops
from scheduler.control.converger import Converger
from scheduler.control.drainer import Drainer
from scheduler.control.effects import Effects
from scheduler.control.image_loops import ImageLoops
from scheduler.control.leftovers import Leftovers, key_of, sandbox_of
from scheduler.control.listings import Listings
from scheduler.control.looks import Look, Looker
from scheduler.control.loop import Loop
from scheduler.control.mover import Mover
from scheduler.control.orphans import OrphanKeeper
from scheduler.control.pace import Pace
from scheduler.control.partings import Partings
from scheduler.control.poller import Poller
from scheduler.control.publication_loops import PublicationLoops, Publishing
from scheduler.control.reaper import Reaper
from scheduler.control.reconciler import Reconciler
from scheduler.control.records import Records
from scheduler.control.relocator import Move, Relocator
from scheduler.control.replicas import ReplicaRecords
from scheduler.control.retention import Retention
from scheduler.control.snapshot_effects import SnapshotEffects, TakeManifest
from scheduler.control.snapshot_records import SnapshotRecords
from scheduler.control.tally import Tally, Untold
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.guests.connections import GuestConnections
from scheduler.hosts.driver import HostDriver
from scheduler.model import Allocation, HostResources, Sandbox
from scheduler.service.catalogue import Shelf
from scheduler.service.errands import Errands
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.store import Store

PASS_LIMIT_SECONDS = 300.0
"""A pass of a loop that touches only the store and takes longer than this is a bug."""


class HostDrivers(Protocol):
    """Where the loops get the way to a host; see `hosts.drivers`."""

    def get(self, host: HostResources) -> HostDriver:
        """Return the host's driver, dialling nothing."""
        ...

    async def forget(self, host_id: str) -> None:
        """Close the connections to a host that is no longer ours."""
        ...


class ControlPlane:
    """The loops of one daemon; wake what has work, run them, stop them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        drivers: HostDrivers,
        fleet: FleetView,
        journal: Journal,
        pace: Pace,
        shelf: Shelf,
        guests: GuestConnections,
        publishing: Publishing | None = None,
        lag_seconds: Callable[[], float] = lambda: 0.0,
        tally: Tally | None = None,
        beside: Sequence[Beside] = (),
        take_manifest: TakeManifest | None = None,
        errands: Errands | None = None,
    ) -> None:
        self._store, self._clock, self._drivers = store, clock, drivers
        self._fleet = fleet
        self._journal = journal
        self._guests, self._take_manifest = guests, take_manifest
        self._tally = tally = tally or Untold()
        self._bugs = BugRecorder(store, clock, parked=tally.parked)
        self.listings = Listings(clock)
        """What was last seen of each host, to be read only."""
        self._replicas = ReplicaRecords(store, clock)
        self.images = self._make_images(pace, shelf, lag_seconds)
        self.publications = self._make_publications(pace, publishing)
        self.commands = self._make_commands(errands or Errands())
        self._consoles = self._make_consoles(pace)
        rooms = (self.publications, self.commands, self._consoles)
        self._rooms: tuple[Beside, ...] = (self.images, *beside, *rooms)
        self._converger = self._make_converger(pace)
        self.workers = Workers(
            "converge", self._converger.converge, clock=clock, report_bug=self._bugs.of_sandbox
        )
        self._leftovers = self._make_leftovers()
        nudge = self.workers.nudge
        self._reconciler = Reconciler(clock, self.listings, limits=pace.limits, nudge=nudge)
        self._orphans = self._make_orphans(pace)
        self.poller = self._make_poller(pace)
        self.guard_clock = ClockGuard(store, clock).watch
        self._loops = self._make_loops(pace)
        self._reap, self._drain, self._guard, _, self._retain = self._loops
        self._sweep_every = timedelta(seconds=pace.keep.sweep_seconds)
        self.partings = Partings(drivers.forget)

    def _make_poller(self, pace: Pace) -> Poller:
        store, clock = self._store, self._clock
        return Poller(
            store,
            clock,
            Looker(store, clock, drivers=self._drivers.get, listings=self.listings),
            every=pace.poll_seconds,
            looked=self._looked,
            gone=self._gone,
            report_bug=self._bugs.of_host,
            observe=self._tally.passed,
            rested=self._tally.rested,
        )

    def _make_converger(self, pace: Pace) -> Converger:
        store, clock, fleet = self._store, self._clock, self._fleet
        records = Records(store, clock, changed=self._changed, released=self._released)
        effects = Effects(
            records, self._replicas, clock, guests=self._guests, starting=self._consoles.wake
        )
        relocator = Relocator(store, clock, fleet=fleet, moved=self._moved)
        return Converger(
            records=records,
            effects=effects,
            listings=self.listings,
            relocator=relocator,
            mover=Mover(store, clock, relocator=relocator, wake=self.images.wake),
            captures=Captures(store, clock, wake=self.images.wake, changed=self._changed),
            breakers=Breakers(store, clock, fleet=fleet, rules=pace.breakers),
            builds=BuildQueue(clock, self._wake_build),
            drivers=self._drivers.get,
            limits=pace.limits,
            replicate=self.images.nudge,
            snapshots=SnapshotEffects(
                records,
                SnapshotRecords(store, clock, changed=self._changed, concluded=self._concluded),
                effects,
                take_manifest=self._take_manifest,
            ),
        )

    def _make_leftovers(self) -> Workers:
        leftovers = Leftovers(
            self._store, self._clock, drivers=self._drivers.get, released=self._left
        )
        return Workers(
            "leftovers",
            leftovers.remove,
            clock=self._clock,
            report_bug=lambda key, traceback: self._bugs.of_sandbox(sandbox_of(key), traceback),
        )

    def _make_orphans(self, pace: Pace) -> OrphanKeeper:
        return OrphanKeeper(
            self._store,
            self._clock,
            self.listings,
            remove=self._leftovers.nudge,
            pass_seconds=pace.poll_seconds,
        )

    def _make_images(
        self, pace: Pace, shelf: Shelf, lag_seconds: Callable[[], float]
    ) -> ImageLoops:
        return ImageLoops(
            self._store,
            self._clock,
            shelf=shelf,
            lag_seconds=lag_seconds,
            pace=pace.images,
            replicas=self._replicas,
            drivers=self._drivers.get,
            held=self._held,
            told=self._journal.poke,
            report_bug=self._bugs.of_image,
            observe=self._tally.passed,
        )

    def _make_publications(self, pace: Pace, publishing: Publishing | None) -> PublicationLoops:
        return PublicationLoops(
            self._store,
            self._clock,
            publishing=publishing or Publishing.nowhere(self._clock),
            pace=pace.publishing,
            told=self._journal.poke,
            count=self._tally.published,
            report_bug=self._bugs.of_publication,
        )

    def _make_commands(self, errands: Errands) -> CommandLoops:
        return CommandLoops(
            self._store,
            self._clock,
            guests=self._guests,
            errands=errands,
            tally=self._tally,
            told=self._journal.poke,
            report_bug=self._bugs.of_command,
        )

    def _make_consoles(self, pace: Pace) -> ConsoleLoops:
        return ConsoleLoops(
            self._store,
            self._clock,
            listens=pace.consoles,
            drivers=self._drivers.get,
            report_bug=self._bugs.of_host,
        )

    def _make_loops(self, pace: Pace) -> tuple[Loop, Loop, Loop, Loop, Loop]:
        store, clock, tally = self._store, self._clock, self._tally
        reaper = Reaper(
            store,
            clock,
            stopped_retention_seconds=pace.stopped_retention_seconds,
            wake=self.workers.wake,
            count=tally.expired,
        )
        drainer = Drainer(
            store,
            clock,
            wake_sandbox=self.workers.wake,
            changed=self._host_changed,
            count=tally.drained,
        )
        loop = partial(Loop, limit=PASS_LIMIT_SECONDS, clock=clock, observe=tally.passed)
        return (
            loop("reap", reaper.reap, every=60.0),
            loop("drain", drainer.drain, every=60.0),
            loop("clock", self.guard_clock, every=1.0),
            loop("guests", self._guests.sweep, every=15.0),
            loop("retention", Retention(store, clock, pace.keep).sweep, every=86400.0),
        )

    def wake_sandbox(self, sandbox_id: str) -> None:
        """Say that a sandbox's record wants something new."""
        self.workers.wake(sandbox_id)
        self._reap.wake()

    def wake_host(self, host_id: str) -> None:
        """Say that a host's record was changed."""
        self.poller.wake(host_id)

    def hint_host(self, host_id: str) -> None:
        """Say that something happened on a host."""
        self.poller.hint(host_id)

    def wake_image(self, key: str) -> None:
        """Say that an image, or an image on a host, is wished to be otherwise."""
        self.images.wake(key)

    def wake_publication(self, publication_id: str) -> None:
        """Say that a publication is asked for, or to be gone on with."""
        self.publications.wake(publication_id)

    def wake_command(self, command_id: str) -> None:
        """Say that a command is to be run, or to be ended."""
        self.commands.wake(command_id)

    def wake_drains(self, _host_id: str) -> None:
        """Say that a drain was begun or called off."""
        self._drain.wake()

    def turns(self) -> tuple[Turn, ...]:
        """Return where every loop is in its turn, for the health of the daemon."""
        return (
            *(loop.turn for loop in self._loops),
            *self.poller.turns(),
            *self.workers.turns(),
            *self._leftovers.turns(),
            *(turn for one in self._rooms for turn in one.turns()),
        )

    async def run(self, begun: Callable[[], None] = lambda: None) -> None:
        """Run every loop until `stop`; work in progress is finished first.

        The clock is looked at before anything may be reaped; `begun` is called once all loops run.
        """
        await self.guard_clock()
        for sandbox in await self._store.read(lambda tx: tx.sandboxes.unsettled()):
            self.workers.wake(sandbox.id)
        for snapshot in await self._store.read(lambda tx: tx.snapshots.unfinished()):
            self.workers.wake(snapshot.sandbox_id)
        for one in self._rooms:
            await one.resume()
        with waking(self._retain.wake, every=self._sweep_every):
            async with asyncio.TaskGroup() as group:
                for loop in self._loops:
                    group.create_task(loop.run(), name=loop.name)
                group.create_task(self.workers.run(), name="converge")
                group.create_task(self._leftovers.run(), name="leftovers")
                group.create_task(self.poller.run(), name="poll")
                for one in self._rooms:
                    group.create_task(one.run(), name=type(one).__name__)
                begun()
        await self.partings.ended()

    def stop(self) -> None:
        """Ask every loop to end after what it is doing."""
        for loop in self._loops:
            loop.stop()
        self._converger.stop()
        self.workers.stop()
        self._leftovers.stop()
        self.poller.stop()
        for one in self._rooms:
            one.stop()

    async def _held(self, image_id: str, sandbox_ids: Collection[str]) -> None:
        """Go on with those who waited for a replica, and place others where it is."""
        await self._fleet.reread_image(image_id)
        for sandbox_id in sandbox_ids:
            self.workers.wake(sandbox_id)

    def _wake_build(self, sandbox_id: str) -> None:
        """Say that it is a sandbox's turn to be built."""
        self.workers.wake(sandbox_id)

    async def _looked(self, look: Look) -> None:
        await self._fleet.meet(look.host)
        self._converger.heed(look.host)
        self._journal.poke()
        await self._reconciler.reconcile(look)
        await self._orphans.keep(look)

    def _gone(self, host_id: str) -> None:
        self._fleet.drop(host_id)
        self._orphans.forget(host_id)
        self._converger.forget(host_id)
        self.partings.begin(host_id)

    def _changed(self, before: Sandbox, after: Sandbox) -> None:
        self._journal.poke()
        if after.expires_at is not None:
            self._reap.wake()
        self._tally.became(before, after)
        self._consoles.became(before, after)

    def _concluded(self, operation: str, result: str) -> None:
        self._journal.poke()
        self._tally.snapped(operation, result)

    def _released(self, sandbox: Sandbox, freed: tuple[Allocation, ...]) -> None:
        self.listings.forget(sandbox.id)
        self._guests.drop(sandbox.id)
        self._give_back(freed)

    def _moved(self, move: Move) -> None:
        """Go on where a sandbox went, and see to what it left."""
        self._journal.poke()
        if move.failure is not None:
            self._tally.moved(move.failure)
        self._guests.drop(move.before.id)
        self._leftovers.nudge(key_of(move.before.host_id or "", move.before.id))
        self._drain.wake()

    def _left(self, sandbox: Sandbox, freed: tuple[Allocation, ...]) -> None:
        self._journal.poke()
        self._give_back(freed)
        self.workers.nudge(sandbox.id)

    def _give_back(self, freed: tuple[Allocation, ...]) -> None:
        for allocation in freed:
            self._fleet.release(
                allocation.host_id, allocation.resources, allocation.anti_affinity_group
            )
        self._drain.wake()

    async def _host_changed(self, host_id: str) -> None:
        self._journal.poke()
        await self._fleet.reread(host_id)
