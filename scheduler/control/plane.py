"""All loops together: what wakes which, and how they begin and end.

A bug in a loop ends them all, and with them the process: systemd starts it again, and everything
goes on from what is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from scheduler.clock import Clock
from scheduler.control.calendar import hourly
from scheduler.control.clock_guard import ClockGuard
from scheduler.control.converger import Converger
from scheduler.control.drainer import Drainer
from scheduler.control.effects import Effects
from scheduler.control.listings import Listings
from scheduler.control.looks import Look, Looker
from scheduler.control.loop import Loop
from scheduler.control.orphans import OrphanKeeper
from scheduler.control.poller import Poller
from scheduler.control.reaper import Reaper
from scheduler.control.reconciler import Reconciler
from scheduler.control.records import Records
from scheduler.control.tally import Tally, Untold
from scheduler.control.workers import Workers
from scheduler.hosts.drivers import Drivers
from scheduler.lifecycle.steps import Limits
from scheduler.model import Allocation, Event, Sandbox
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.store import Store

KEEP_ANSWERS = timedelta(hours=24)
PASS_LIMIT_SECONDS = 300.0
"""A pass of a loop that touches only the store and takes longer than this is a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how long; seconds."""

    poll_seconds: float = 10.0
    stopped_retention_seconds: int = 86400
    limits: Limits = field(default_factory=Limits)


class ControlPlane:
    """The loops of one daemon; wake what has work, run them, stop them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        drivers: Drivers,
        fleet: FleetView,
        journal: Journal,
        pace: Pace,
        boot_id: str,
        tally: Tally | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._fleet = fleet
        self._journal = journal
        self._tally = tally = tally or Untold()
        listings = Listings(clock)
        records = Records(store, clock, changed=self._changed, released=self._released)
        self._listings = listings
        self.workers = Workers(
            "converge",
            Converger(
                records=records,
                effects=Effects(records, clock),
                listings=listings,
                drivers=drivers.get,
                clock=clock,
                limits=pace.limits,
            ).converge,
            clock=clock,
            report_bug=self._report_bug,
        )
        self._reconciler = Reconciler(clock, listings, limits=pace.limits, nudge=self.workers.nudge)
        self._orphans = OrphanKeeper(store, clock, listings, drivers=drivers.get)
        self.poller = Poller(
            store,
            clock,
            Looker(store, clock, drivers=drivers.get, listings=listings),
            every=pace.poll_seconds,
            looked=self._looked,
            gone=self._gone,
            observe=tally.passed,
        )
        reaper = Reaper(
            store,
            clock,
            stopped_retention_seconds=pace.stopped_retention_seconds,
            wake=self.workers.wake,
            count=tally.expired,
        )
        drainer = Drainer(store, clock, wake_sandbox=self.workers.wake, changed=self._host_changed)
        self._guard_clock = ClockGuard(store, clock, boot_id).watch
        loop = partial(Loop, limit=PASS_LIMIT_SECONDS, clock=clock, observe=tally.passed)
        self._reap = loop("reap", reaper.reap, every=60.0)
        self._drain = loop("drain", drainer.drain, every=60.0)
        self._guard = loop("clock", self._guard_clock, every=1.0)
        self._forget = loop("forget", self._forget_answers, every=86400.0)
        self._spawned: set[asyncio.Task[None]] = set()

    def wake_sandbox(self, sandbox_id: str) -> None:
        """Say that a sandbox's record wants something new."""
        self.workers.wake(sandbox_id)
        self._reap.wake()

    def wake_host(self, host_id: str) -> None:
        """Say that a host's record was changed, or that something happened there."""
        self.poller.wake(host_id)

    def wake_drains(self, _host_id: str) -> None:
        """Say that a drain was begun or called off."""
        self._drain.wake()

    def lag_seconds(self) -> dict[str, float]:
        """Return how long ago each loop finished its last pass."""
        now = self._clock.monotonic()
        loops = (self._reap, self._drain, self._guard, self._forget)
        return {loop.name: now - loop.finished_at for loop in loops}

    async def run(self, begun: Callable[[], None] = lambda: None) -> None:
        """Run every loop until `stop`; work in progress is finished first.

        The clock is looked at before anything may be reaped; `begun` is called once all loops run.
        """
        await self._guard_clock()
        for sandbox in await self._store.read(lambda tx: tx.sandboxes.unsettled()):
            self.workers.wake(sandbox.id)
        with hourly(self._forget.wake):
            async with asyncio.TaskGroup() as group:
                for loop in (self._reap, self._drain, self._guard, self._forget):
                    group.create_task(loop.run(), name=loop.name)
                group.create_task(self.workers.run(), name="converge")
                group.create_task(self.poller.run(), name="poll")
                begun()

    def stop(self) -> None:
        """Ask every loop to end after what it is doing."""
        for loop in (self._reap, self._drain, self._guard, self._forget):
            loop.stop()
        self.workers.stop()
        self.poller.stop()

    async def _looked(self, look: Look) -> None:
        self._fleet.put(look.host)
        self._journal.poke()
        self._reconciler.reconcile(look)
        await self._orphans.keep(look)

    def _gone(self, host_id: str) -> None:
        self._fleet.drop(host_id)
        self._orphans.forget(host_id)
        self._spawn(self._drivers.forget(host_id), f"forget {host_id}")

    def _changed(self, before: Sandbox, after: Sandbox) -> None:
        self._journal.poke()
        if after.expires_at is not None:
            self._reap.wake()
        self._tally.became(before, after)

    def _released(self, sandbox: Sandbox, freed: tuple[Allocation, ...]) -> None:
        self._listings.forget(sandbox.id)
        for allocation in freed:
            self._fleet.release(
                allocation.host_id, allocation.resources, allocation.anti_affinity_group
            )
        self._drain.wake()

    async def _host_changed(self, host_id: str) -> None:
        self._journal.poke()
        await self._fleet.reread(host_id)

    async def _forget_answers(self) -> None:
        """Drop answers whose keys no longer count."""
        before = self._clock.now() - KEEP_ANSWERS
        await self._store.submit(lambda tx: tx.idempotency.purge(before))

    async def _report_bug(self, sandbox_id: str, evidence: str) -> None:
        """Tell of a bug met while working on one sandbox; the others go on."""
        now = self._clock.now()
        event = Event(
            at=now,
            kind="sandbox.parked",
            sandbox_id=sandbox_id,
            reason_code="internal_error",
            message="a bug in sandboxd keeps this sandbox from going on; it is tried again",
            evidence={"traceback": evidence},
        )
        self._tally.parked()
        await self._store.submit(lambda tx: tx.events.add(event))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
