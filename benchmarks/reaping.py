"""P7: how late leases end in a daemon at work, with thousands of leases live and one host hung.

Polls, reaper and convergers run as in the daemon, over libvirt's test driver but for one host that
answers no call. Late is what a lease's end was recorded at, in the transaction that did, less what
it was due at; early must not be. Run: python -m benchmarks.reaping
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from benchmarks.fleets import NOW, Resident, record, residents, write_node_file
from benchmarks.rounds import duration, met_or_missed
from scheduler import logs
from scheduler.clock import Clock, SystemClock
from scheduler.config import Settings
from scheduler.config.loading import load
from scheduler.guests.dialling import Connection
from scheduler.hosts.cluster import open_cluster
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.model import Event, HostResources
from scheduler.notify import Notifier
from scheduler.outside import Outside
from scheduler.parts import opened
from scheduler.service.clusters import CLUSTER_SETTING
from scheduler.store import EventFilter, Store, Transaction
from scheduler.store.config import store_config_of
from tests.clocks import ManualClock
from tests.hosts.fake import FakeDriver, FakeHost

GOAL_SECONDS = 1.0
HOSTS = 100
EXPIRED = "lease_expired"


class OneHung:
    """The drivers of a fleet of which one host answers nothing."""

    def __init__(self, drivers: Drivers, host_id: str, keyring: Keyring) -> None:
        self._drivers = drivers
        self.calls = drivers.calls
        self._host_id = host_id
        self._hung = FakeDriver(
            FakeHost(host_id=host_id, host_uuid=host_id), keyring, ManualClock()
        )
        self._hung.gate = asyncio.Event()

    def get(self, host: HostResources) -> HostDriver:
        """Return the host's driver."""
        return self._hung if host.id == self._host_id else self._drivers.get(host)

    async def jump(self, host: HostResources) -> Connection | None:
        """Return the connection that the host's guests are reached through."""
        return await self._drivers.jump(host)

    async def forget(self, host_id: str) -> None:
        """Close the connections to a host."""
        await self._drivers.forget(host_id)


def hung(host_id: str) -> Outside:
    """Return a world in which this host hangs."""

    @asynccontextmanager
    async def open_drivers(
        directory: Path, keyring: Keyring, clock: Clock, hint: Callable[[str], None]
    ) -> AsyncIterator[OneHung]:
        async with Drivers.open(directory, keyring, clock, hint) as drivers:
            yield OneHung(drivers, host_id, keyring)

    return Outside(open_drivers=open_drivers)


async def prepare(settings: Settings, leases: int, ends: timedelta) -> list[Resident]:
    """Write the records of so many running sandboxes, and their hosts' node files."""
    fleet = residents(settings.state_dir, HOSTS, leases // HOSTS, ends=ends)
    keyring = open_cluster(settings.state_dir, None)
    for resident in fleet:
        write_node_file(resident, keyring)
    async with Store.open(store_config_of(settings)) as store:
        await store.submit(lambda tx: tx.settings.ensure(CLUSTER_SETTING, keyring.cluster_id))
        await record(store, fleet)
    return fleet


async def lateness(
    settings: Settings, fleet: Sequence[Resident], settle: float, seconds: float
) -> tuple[list[float], list[float]]:
    """Run the loops; return how late leases ended, first those due while the daemon settled.

    Settling is meeting every host and judging every sandbox once. Leases that ended while the
    records were written, before there was a daemon, are not counted.
    """
    outside = hung(fleet[0].host.id)
    async with opened(settings, outside, notifier=Notifier({})) as daemon:
        began = SystemClock().now()
        running = asyncio.create_task(daemon.plane.run())
        await asyncio.wait({running}, timeout=settle + seconds)
        daemon.plane.stop()
        await asyncio.wait({running}, timeout=10)
        running.cancel()
    due = {one.id: one.expires_at for resident in fleet for one in resident.sandboxes}
    settling: list[float] = []
    settled: list[float] = []
    for event in await ends(settings):
        at = due[event.sandbox_id or ""]
        if at is not None and at >= began:
            chosen = settled if at >= began + timedelta(seconds=settle) else settling
            chosen.append((event.at - at).total_seconds())
    return settling, settled


async def ends(settings: Settings) -> list[Event]:
    """Return every end of a lease that was recorded."""
    wanted = EventFilter(kind="sandbox.desired", reason_code=EXPIRED)
    found: list[Event] = []
    async with Store.open(store_config_of(settings)) as store:
        while True:
            since = found[-1].seq if found else 0
            page = await store.read(partial(_page, since, wanted))
            if not page:
                return found
            found += page


def _page(since: int, wanted: EventFilter, tx: Transaction) -> tuple[Event, ...]:
    return tx.events.find(since, wanted)


def main() -> None:
    """Print how late leases ended, and the goal's verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=10_000)
    parser.add_argument("--settle", type=float, default=45.0, help="seconds before it counts")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="leases that end in a second")
    options = parser.parse_args()
    logs.configure("error")
    ends = timedelta(seconds=options.leases / options.rate)
    with tempfile.TemporaryDirectory() as directory:
        settings = load(None, state_dir=Path(directory), environ={})
        fleet = asyncio.run(prepare(settings, options.leases, ends))
        starting, late = asyncio.run(lateness(settings, fleet, options.settle, options.seconds))
    last = quantiles(late, n=100)[98]
    print(f"{options.leases:,} live leases on {HOSTS} hosts, one of them hung; written {NOW:%H:%M}")
    print(f"{len(late)} ended: earliest {duration(min(late))} after its end, median")
    print(f"{duration(median(late))}, p99 {duration(last)}, latest {duration(max(late))}")
    first = max(starting, default=0.0)
    print(f"the latest in the first {options.settle:.0f} s after the start: {duration(first)}")
    kept = met_or_missed(last < GOAL_SECONDS and min(late) >= 0)
    print(f"the goal (p99 under {duration(GOAL_SECONDS)}, never early) is {kept}")


if __name__ == "__main__":
    main()
