"""What a daemon consists of: opened in order over the state directory, closed in reverse.

Nothing else constructs anything; nothing here runs yet, and nothing is bound.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import TypedDict
from uuid import UUID

from scheduler.clock import Clock
from scheduler.config import Settings
from scheduler.config.sources import credentials_of
from scheduler.control.authority_keeper import AuthorityKeeper, AuthorityLoop
from scheduler.control.backups import BackupLoop, Backups
from scheduler.control.bugs import BugRecorder
from scheduler.control.change_loops import ChangeLoops
from scheduler.control.clones import Clones
from scheduler.control.evidence import GuestOnlooker
from scheduler.control.loop import Loop
from scheduler.control.measuring import measuring_loops
from scheduler.control.pace import pace_of
from scheduler.control.plane import ControlPlane
from scheduler.control.playbook_loops import PlaybookLoops
from scheduler.control.publication_loops import Publishing
from scheduler.control.source_loops import SourceLoops
from scheduler.control.watchdog import Watchdog
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Dialler
from scheduler.guests.manifests import Manifests, limits_of
from scheduler.guests.playbook_players import PlaybookPlayer
from scheduler.guests.source_ways import SourceWays
from scheduler.guests.ways import GuestWays
from scheduler.hosts.cluster import KEY_FILE
from scheduler.hosts.marks import Keyring
from scheduler.metrics import LagProbe, Meter, MetricsPage, Snapshots
from scheduler.notify import Notifier
from scheduler.outside import Outside, Ways
from scheduler.publishing.change_files import ChangeFiles
from scheduler.publishing.forges import Forges
from scheduler.release import installed
from scheduler.service.catalogue import Shelf
from scheduler.service.clusters import keyring_of
from scheduler.service.errands import Errands
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.service.node import Node, group_exists
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms, terms_of
from scheduler.store import Store
from scheduler.store.config import store_config_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running daemon: its loops, its services and the fleet it places on."""

    plane: ControlPlane
    services: Services
    journal: Journal
    page: MetricsPage
    measuring: tuple[Loop, ...]
    """The loops that keep gauges and readiness fresh and hear from the store's writer."""
    watchdog: Watchdog

    def end_streams(self) -> None:
        """End what would keep the socket from closing: journals being read, terminals, tunnels."""
        self.journal.close()
        self.services.terminals.close()
        self.services.ssh.close()


class _Shared(TypedDict):
    """What loops and services have in common."""

    clock: Clock
    fleet: FleetView
    journal: Journal
    shelf: Shelf
    errands: Errands


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What lies under the state directory beside the database and the keys."""

    shelf: Shelf
    manifests: Manifests
    change_files: ChangeFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inroads:
    """The ways to hosts, and through them to guests."""

    drivers: Ways
    guests: GuestConnections
    streams: GuestWays
    sources: SourceWays
    authorities: Authorities


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """The loops of subjects that the plane knows nothing of."""

    playbooks: PlaybookLoops
    changes: ChangeLoops
    sources: SourceLoops
    authorities: AuthorityLoop
    backups: Backups


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What loops and services stand on."""

    settings: Settings
    store: Store
    terms: Terms
    shared: _Shared
    kept: _Kept
    ways: _Inroads
    meter: Meter
    lag: LagProbe


@asynccontextmanager
async def opened(
    settings: Settings, outside: Outside, *, notifier: Notifier
) -> AsyncIterator[Daemon]:
    """Open every part over the state directory; nothing runs yet, nothing is bound."""
    clock = outside.clock
    async with _ground(settings, outside, lambda host_id: plane.hint_host(host_id)) as ground:
        store, shared, lag, meter = ground.store, ground.shared, ground.lag, ground.meter
        snapshots = Snapshots(
            store,
            clock,
            calls=ground.ways.drivers.calls,
            placeable=lambda: services.placements.placeable(),
            stale_after_seconds=ground.terms.stale_after_seconds,
        )
        beside = _beside(ground, clones=lambda: services.sandboxes)
        plane = _plane(ground, beside)
        measuring = measuring_loops(
            store,
            clock,
            refresh=snapshots.refresh,
            lag=lag.measure,
            audit=lambda: services.audits.watch(),
        )
        watchdog = _watchdog(plane, measuring, lag, meter, clock=clock, notifier=notifier)
        services = Services.over(
            store,
            terms=ground.terms,
            wakes=_wakes(plane, beside),
            listings=plane.listings,
            node=_node(settings, lag, watchdog, beside.backups).look,
            manifests=ground.kept.manifests,
            change_files=ground.kept.change_files,
            forges=plane.publications.forges,
            guests=ground.ways.guests,
            authority=lambda: ground.ways.guests.authority,
            tally=meter,
            **shared,
        )
        await shared["fleet"].load()
        yield Daemon(
            plane=plane,
            services=services,
            journal=shared["journal"],
            page=MetricsPage(meter, snapshots.latest, clock, release=installed()),
            measuring=measuring,
            watchdog=watchdog,
        )


@asynccontextmanager
async def _ground(
    settings: Settings, outside: Outside, on_hint: Callable[[str], None]
) -> AsyncIterator[_Ground]:
    clock = outside.clock
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(settings, outside))
        keyring = await keyring_of(settings.state_dir, store)
        ways = await stack.enter_async_context(_ways(settings, outside, keyring, on_hint))
        journal = await stack.enter_async_context(Journal.open(store, clock))
        terms, meter = terms_of(settings, UUID(keyring.cluster_id)), Meter(clock)
        kept = await stack.enter_async_context(_kept(settings, store, clock, terms))
        yield _Ground(
            settings=settings,
            store=store,
            terms=terms,
            shared=_Shared(
                clock=clock,
                fleet=_fleet(store, clock, terms, meter),
                journal=journal,
                shelf=kept.shelf,
                errands=Errands(),
            ),
            kept=kept,
            ways=ways,
            meter=meter,
            lag=LagProbe(meter, clock),
        )


def _beside(ground: _Ground, *, clones: Callable[[], Clones]) -> _Beside:
    store, clock, ways = ground.store, ground.shared["clock"], ground.ways
    told = ground.shared["journal"].poke
    bugs = BugRecorder(store, clock, parked=ground.meter.parked)
    keeper = AuthorityKeeper(store, clock, ways.authorities, told=told, given_up=ways.guests.drop)
    return _Beside(
        authorities=AuthorityLoop(keeper, clock),
        backups=Backups.of(ground.settings, clock, ground.meter),
        playbooks=PlaybookLoops(
            store,
            clock,
            ground.settings.state_dir,
            player=PlaybookPlayer(ways.streams),
            tally=ground.meter,
            told=told,
            report_bug=bugs.of_playbook_run,
        ),
        changes=ChangeLoops.over(
            store,
            clock,
            files=ground.kept.change_files,
            manifests=ground.kept.manifests,
            guests=ways.guests,
            ways=ways.streams,
            clones=clones,
            told=told,
            tally=ground.meter,
            report_bug=bugs.of_change_set,
        ),
        sources=SourceLoops(
            store,
            clock,
            drivers=ways.drivers.get,
            ways=ways.sources,
            output_bytes=ground.settings.sources.output_bytes,
            told=told,
            report_bug=bugs.of_source,
        ),
    )


def _plane(ground: _Ground, beside: _Beside) -> ControlPlane:
    settings, guests = ground.settings, ground.ways.guests
    clock, credentials = ground.shared["clock"], credentials_of(os.environ)
    forges = Forges(settings.forges, clock, credentials=credentials)
    return ControlPlane(
        store=ground.store,
        drivers=ground.ways.drivers,
        pace=pace_of(settings),
        publishing=Publishing.within(settings.state_dir, forges),
        lag_seconds=lambda: ground.lag.latest_seconds,
        tally=ground.meter,
        guests=guests,
        beside=(
            *(beside.authorities, beside.playbooks, beside.changes, beside.sources),
            BackupLoop(beside.backups, clock),
        ),
        take_manifest=GuestOnlooker(guests, ground.kept.manifests).take,
        **ground.shared,
    )


@asynccontextmanager
async def _kept(
    settings: Settings, store: Store, clock: Clock, terms: Terms
) -> AsyncIterator[_Kept]:
    state_dir = settings.state_dir
    async with (
        Shelf.open(state_dir, store, terms) as shelf,
        Manifests.open(state_dir, clock, limits_of(settings)) as manifests,
    ):
        with closing(ChangeFiles(state_dir)) as change_files:
            yield _Kept(shelf=shelf, manifests=manifests, change_files=change_files)


def _store(settings: Settings, outside: Outside) -> AbstractAsyncContextManager[Store]:
    return outside.open_store(store_config_of(settings), clock=outside.clock)


def _node(settings: Settings, lag: LagProbe, watchdog: Watchdog, backups: Backups) -> Node:
    database = store_config_of(settings).sqlite_path
    return Node(
        state_dir=settings.state_dir,
        secrets=(settings.state_dir / KEY_FILE, *(() if database is None else (database,))),
        socket=settings.socket,
        group=settings.api.group or None,
        group_exists=group_exists(settings.api.group),
        lag_seconds=lambda: lag.latest_seconds,
        stuck=watchdog.missing,
        forges=settings.forges,
        backups=backups.facts,
    )


def _watchdog(
    plane: ControlPlane,
    measuring: Sequence[Loop],
    lag: LagProbe,
    meter: Meter,
    *,
    clock: Clock,
    notifier: Notifier,
) -> Watchdog:
    return Watchdog(
        clock,
        notifier,
        turns=lambda: (*plane.turns(), *(loop.turn for loop in measuring)),
        lag_seconds=lambda: lag.latest_seconds,
        count=meter.stuck,
    )


def _fleet(store: Store, clock: Clock, terms: Terms, meter: Meter) -> FleetView:
    return FleetView(
        store,
        clock,
        policy=terms.policy,
        stale_after_seconds=terms.stale_after_seconds,
        decided=lambda choice, seconds: meter.decided(choice.outcome, choice.refusals, seconds),
    )


def _wakes(plane: ControlPlane, beside: _Beside) -> Wakes:
    return Wakes(
        sandbox=plane.wake_sandbox,
        host=plane.wake_host,
        drain=plane.wake_drains,
        image=plane.wake_image,
        playbooks=beside.playbooks.wake,
        playbook_run=beside.playbooks.wake_run,
        authorities=beside.authorities.wake,
        change_set=beside.changes.wake,
        verification=beside.changes.wake_verification,
        publication=plane.wake_publication,
        command=plane.wake_command,
        source=beside.sources.wake,
    )


@asynccontextmanager
async def _ways(
    settings: Settings, outside: Outside, keyring: Keyring, on_hint: Callable[[str], None]
) -> AsyncIterator[_Inroads]:
    """Yield the ways to hosts, and through them to guests by the authorities there are."""
    state_dir, clock = settings.state_dir, outside.clock
    authorities = Authorities.open(state_dir, credentials_of(os.environ))
    async with (
        outside.open_drivers(state_dir, keyring, clock, on_hint) as drivers,
        GuestConnections.open(
            authorities,
            clock,
            dialler=Dialler(drivers.jump),
            certificate_seconds=settings.guests.ssh_certificate_seconds,
        ) as guests,
    ):
        streams = GuestWays(authorities, clock, drivers.jump)
        sources = SourceWays(authorities, clock, drivers.jump, key=settings.sources.ssh_key)
        yield _Inroads(
            drivers=drivers,
            guests=guests,
            streams=streams,
            sources=sources,
            authorities=authorities,
        )
