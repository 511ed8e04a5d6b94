"""One life of the daemon: everything the real one composes, until it is killed.

A killed one does nothing any more, not even in its `finally` blocks: whoever asks the store or a
machine for something then waits until it is swept away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn, TypedDict, TypeVar

from scheduler.control.pace import Pace
from scheduler.control.plane import ControlPlane
from scheduler.hosts.marks import Keyring
from scheduler.service.catalogue import Catalogue, Shelf
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.service.lease_time import OFFSET_SETTING
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms
from scheduler.store import Store, StoreConfig, Transaction, Unit
from tests.control.world import CLUSTER
from tests.guests.unreached import no_guests
from tests.model.books import Books, Commit, commit_of
from tests.model.driver import WatchedDrivers
from tests.model.machines import Slot
from tests.model.spool import Spool
from tests.model.virtual import VirtualClock

T = TypeVar("T")

PACE = Pace(poll_seconds=15.0, stopped_retention_seconds=600)
TERMS = Terms(cluster_id=CLUSTER)


async def _for_ever() -> NoReturn:
    """Wait, as who is dead does, until swept away."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


class Dead(Exception):
    """The daemon died before this unit was committed."""


@dataclass
class Life:
    """Whether a daemon lives, and the moment at which it will be killed, if one is set."""

    fuse: int | None = None
    """After so many commits and host calls it dies."""
    died: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        return self.died.is_set()

    def end(self) -> None:
        self.died.set()

    async def passing(self) -> None:
        """Burn the fuse; never return to somebody who is dead."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse <= 0:
                self.end()
        if self.over:
            await _for_ever()


class WatchedStore(Store):
    """The real store; every unit's commit is judged from within."""

    clock: VirtualClock
    life: Life
    judge: Callable[[Commit], None] | None = None

    async def submit(self, unit: Unit[T]) -> T:
        await self.life.passing()
        try:
            value = await super().submit(self._judged(unit))
        except Dead:
            return await _for_ever()
        await self.life.passing()
        return value

    async def read(self, unit: Unit[T]) -> T:
        if self.life.over:
            await _for_ever()
        return await super().read(unit)

    async def read_what_is_left(self, unit: Unit[T]) -> T:
        """Read although the daemon is dead, as somebody else could."""
        return await super().read(unit)

    def _judged(self, unit: Unit[T]) -> Unit[T]:
        @wraps(unit)
        def judged(tx: Transaction) -> T:
            if self.life.over:
                raise Dead
            before, lease_now = Books.read(tx), _lease_time(tx, self.clock)
            boottime = self.clock.boottime()
            value = unit(tx)
            commit = commit_of(before, tx, lease_now=lease_now, boottime=boottime)
            if commit is not None and self.judge is not None:
                self.judge(commit)
            return value

        return judged


def _lease_time(tx: Transaction, clock: VirtualClock) -> datetime:
    """Return the time that the recorded ends are counted in, told a second time."""
    kept = tx.settings.get(OFFSET_SETTING)
    if kept is None:
        return clock.now()
    stepped = clock.now().timestamp() - clock.boottime() - float(kept)
    return clock.now() - timedelta(seconds=stepped if abs(stepped) > 0.5 else 0)


class Watch:
    """What a driver tells of its calls: to the life that they may end, and to who judges them."""

    def __init__(
        self, life: Life, store: WatchedStore, called: Callable[[Books, str, str, str], None]
    ) -> None:
        self._life = life
        self._store = store
        self._called = called

    async def passing(self) -> None:
        await self._life.passing()

    async def about_to(self, host_id: str, verb: str, thing: str) -> None:
        self._called(await self._store.read(Books.read), host_id, verb, thing)


@dataclass(kw_only=True)
class Daemon:
    """A running daemon, without sockets."""

    life: Life
    store: WatchedStore
    services: Services
    plane: ControlPlane
    loops: asyncio.Task[None]
    began_at: float
    drivers: WatchedDrivers


class _Shared(TypedDict):
    fleet: FleetView
    journal: Journal
    shelf: Shelf


@asynccontextmanager
async def daemon(
    url: str,
    clock: VirtualClock,
    slots: Mapping[str, Slot],
    keyring: Keyring,
    *,
    spool: Spool,
    judge: Callable[[Commit], None],
    called: Callable[[Books, str, str, str], None],
) -> AsyncIterator[Daemon]:
    """Compose a daemon as the real one is composed, over whatever store and machines are there."""
    life = Life()
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(_watched_store(url, clock))
        opened.clock, opened.life, opened.judge = clock, life, judge
        journal = await stack.enter_async_context(Journal.open(opened, clock))
        fleet = FleetView(opened, clock, policy=TERMS.policy, stale_after_seconds=60)
        shelf = await _shelf(spool, opened)
        shared: _Shared = {"fleet": fleet, "journal": journal, "shelf": shelf}
        watch = Watch(life, opened, called)
        drivers = WatchedDrivers(
            slots, keyring, clock, watch, on_hint=lambda host: plane.hint_host(host)
        )
        plane = ControlPlane(
            store=opened,
            clock=clock,
            drivers=drivers,
            pace=PACE,
            guests=no_guests(Path(stack.enter_context(TemporaryDirectory())), clock),
            **shared,
        )
        services = Services.over(
            opened,
            clock,
            terms=TERMS,
            wakes=_wakes(plane),
            **shared,
            listings=plane.listings,
        )
        await fleet.load()
        yield Daemon(
            life=life,
            store=opened,
            services=services,
            plane=plane,
            loops=await _begun(plane),
            began_at=clock.monotonic(),
            drivers=drivers,
        )


def _wakes(plane: ControlPlane) -> Wakes:
    return Wakes(
        sandbox=plane.wake_sandbox,
        host=plane.wake_host,
        drain=plane.wake_drains,
        image=plane.wake_image,
    )


async def _shelf(spool: Spool, store: Store) -> Shelf:
    shelf = Shelf(files=spool, catalogue=Catalogue(store))
    await shelf.catalogue.load()
    return shelf


@asynccontextmanager
async def _watched_store(url: str, clock: VirtualClock) -> AsyncIterator[WatchedStore]:
    async with WatchedStore.open(StoreConfig(database_url=url), clock=clock) as opened:
        assert isinstance(opened, WatchedStore)
        yield opened


async def _begun(plane: ControlPlane) -> asyncio.Task[None]:
    """Return the loops once all of them run, or have ended."""
    begun = asyncio.Event()
    loops = asyncio.create_task(plane.run(begun.set), name="plane")
    beginning = asyncio.create_task(begun.wait())
    await asyncio.wait({loops, beginning}, return_when=asyncio.FIRST_COMPLETED)
    return loops
