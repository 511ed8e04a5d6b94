"""What a daemon consists of: opened in order over the state directory, closed in reverse.

Nothing else constructs anything; nothing here runs yet, and nothing is bound.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, TypedDict
from uuid import UUID

from scheduler.clock import Clock, SystemClock
from scheduler.config import Settings
from scheduler.config.sources import CREDENTIALS
from scheduler.control.loop import Loop
from scheduler.control.pace import pace_of
from scheduler.control.plane import ControlPlane, HostDrivers
from scheduler.control.playbook_loops import PlaybookLoops
from scheduler.control.publication_loops import Publishing
from scheduler.control.watchdog import Watchdog, writer_loop
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Connection, Dialler
from scheduler.guests.manifests import Manifests, limits_of
from scheduler.hosts.cluster import KEY_FILE, open_cluster
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.metrics import LagProbe, Meter, MetricsPage, Snapshots
from scheduler.model import HostResources
from scheduler.notify import Notifier
from scheduler.publishing.forges import Forges
from scheduler.service.catalogue import Shelf
from scheduler.service.errands import Errands
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.service.node import Node, group_exists
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms, terms_of
from scheduler.store import Store
from scheduler.store.config import store_config_of

CLUSTER_SETTING = "cluster.id"

OpenStore = Callable[..., AbstractAsyncContextManager[Store]]


class Ways(HostDrivers, Protocol):
    """The ways to all hosts, and through them to their guests; see `hosts.drivers`."""

    async def jump(self, host: HostResources) -> Connection | None:
        """Return the connection that a host's guests are reached through, if one is needed."""
        ...


OpenDrivers = Callable[
    [Path, Keyring, Clock, Callable[[str], None]], AbstractAsyncContextManager[Ways]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Through what a daemon reaches time, database and hosts; proofs hand in what dies there."""

    clock: Clock = field(default_factory=SystemClock)
    open_store: OpenStore = Store.open
    open_drivers: OpenDrivers = Drivers.open


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
        """End what would keep the socket from closing: journals being read, tunnels."""
        self.journal.close()
        self.services.ssh.close()


class _Shared(TypedDict):
    """What loops and services have in common."""

    clock: Clock
    fleet: FleetView
    journal: Journal
    shelf: Shelf
    errands: Errands


@asynccontextmanager
async def opened(
    settings: Settings, outside: Outside, *, boot_id: str, notifier: Notifier
) -> AsyncIterator[Daemon]:
    """Open every part over the state directory; nothing runs yet, nothing is bound."""
    clock = outside.clock
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_store(settings, outside))
        keyring = await _open_cluster(settings.state_dir, store)
        drivers, guests = await stack.enter_async_context(
            _ways(settings, outside, keyring, lambda host_id: plane.hint_host(host_id))
        )
        journal = await stack.enter_async_context(Journal.open(store, clock))
        terms, meter = terms_of(settings, UUID(keyring.cluster_id)), Meter(clock)
        shelf = await stack.enter_async_context(Shelf.open(settings.state_dir, store, terms))
        manifests = await stack.enter_async_context(
            Manifests.open(settings.state_dir, clock, limits_of(settings))
        )
        fleet = _fleet(store, clock, terms, meter)
        shared = _Shared(clock=clock, fleet=fleet, journal=journal, shelf=shelf, errands=Errands())
        playbooks = PlaybookLoops(store, clock, settings.state_dir, told=journal.poke)
        snapshots, lag = Snapshots(store, clock), LagProbe(meter, clock)
        plane = ControlPlane(
            store=store,
            drivers=drivers,
            pace=pace_of(settings),
            boot_id=boot_id,
            publishing=Publishing.within(settings.state_dir, Forges(settings.forges, clock)),
            lag_seconds=lambda: lag.latest_seconds,
            tally=meter,
            guests=guests,
            beside=(playbooks,),
            **shared,
        )
        measuring = (*_measuring(store, snapshots, lag, clock), writer_loop(store, clock))
        watchdog = _watchdog(plane, measuring, lag, meter, clock=clock, notifier=notifier)
        services = Services.over(
            store,
            terms=terms,
            wakes=_wakes(plane, playbooks),
            listings=plane.listings,
            node=_node(settings, lag, watchdog).look,
            manifests=manifests,
            forges=plane.publications.forges,
            guests=guests,
            **shared,
        )
        await fleet.load()
        yield Daemon(
            plane=plane,
            services=services,
            journal=journal,
            page=MetricsPage(meter, snapshots.latest, clock, version=version("sandboxd")),
            measuring=measuring,
            watchdog=watchdog,
        )


def _store(settings: Settings, outside: Outside) -> AbstractAsyncContextManager[Store]:
    return outside.open_store(store_config_of(settings), clock=outside.clock)


def _node(settings: Settings, lag: LagProbe, watchdog: Watchdog) -> Node:
    database = store_config_of(settings).sqlite_path
    return Node(
        state_dir=settings.state_dir,
        secrets=(settings.state_dir / KEY_FILE, *(() if database is None else (database,))),
        group=settings.api.group or None,
        group_exists=group_exists(settings.api.group),
        lag_seconds=lambda: lag.latest_seconds,
        stuck=watchdog.missing,
        forges=settings.forges,
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


def _wakes(plane: ControlPlane, playbooks: PlaybookLoops) -> Wakes:
    return Wakes(
        sandbox=plane.wake_sandbox,
        host=plane.wake_host,
        drain=plane.wake_drains,
        image=plane.wake_image,
        playbooks=playbooks.wake,
        publication=plane.wake_publication,
        command=plane.wake_command,
    )


def _measuring(store: Store, snapshots: Snapshots, lag: LagProbe, clock: Clock) -> tuple[Loop, ...]:
    return (
        Loop("store", store.probe, every=2.0, limit=None, clock=clock),
        Loop("metrics", snapshots.refresh, every=5.0, limit=60.0, clock=clock),
        Loop("lag", lag.measure, every=1.0, limit=None, clock=clock),
    )


@asynccontextmanager
async def _ways(
    settings: Settings, outside: Outside, keyring: Keyring, on_hint: Callable[[str], None]
) -> AsyncIterator[tuple[Ways, GuestConnections]]:
    """Yield the ways to hosts, and through them to guests by the authorities there are."""
    state_dir, clock = settings.state_dir, outside.clock
    credentials = os.environ.get(CREDENTIALS)
    authorities = Authorities.open(state_dir, None if credentials is None else Path(credentials))
    async with (
        outside.open_drivers(state_dir, keyring, clock, on_hint) as drivers,
        GuestConnections.open(
            authorities,
            clock,
            dialler=Dialler(drivers.jump),
            certificate_seconds=settings.guests.ssh_certificate_seconds,
        ) as guests,
    ):
        yield drivers, guests


async def _open_cluster(state_dir: Path, store: Store) -> Keyring:
    """Return the fleet's keyring; an empty database takes over the state directory's cluster."""
    recorded = await store.read(lambda tx: tx.settings.get(CLUSTER_SETTING))
    keyring = open_cluster(state_dir, recorded)
    if recorded is None:
        await store.submit(lambda tx: tx.settings.ensure(CLUSTER_SETTING, keyring.cluster_id))
    return keyring
