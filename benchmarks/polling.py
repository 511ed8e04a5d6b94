"""P6: a look at every host of a fleet on which nothing changed, beside the raw libvirt calls.

The floor makes the very calls that a complete look needs, one host after the other. Ours looks at
all hosts at once, as the daemon does when it starts: ask, compare with the records, write, judge
every sandbox. Then it looks at one after the other as the daemon does from then on, and meanwhile
the event loop is asked how late it wakes. Run: python -m benchmarks.polling
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import libvirt

from benchmarks.fleets import Resident, record, residents, write_node_file
from benchmarks.rounds import Table, compare, duration, met_or_missed
from scheduler import interpreter
from scheduler.clock import SystemClock
from scheduler.control.listings import Listings
from scheduler.control.looks import Looker
from scheduler.control.reconciler import Reconciler
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.lifecycle.steps import Limits
from scheduler.store import Store, StoreConfig

GOAL_TIMES = 3.0
GOAL_LAG_SECONDS = 0.020
SAMPLE_SECONDS = 0.002
POLL_SECONDS = 10.0
POOL = "default"


class Bare:
    """The floor: a connection a host, and its calls in a row."""

    def __init__(self, fleet: Sequence[Resident]) -> None:
        self._connections = [libvirt.open(resident.host.uri) for resident in fleet]

    def poll(self) -> int:
        """Ask every host for what a look consists of."""
        for connection in self._connections:
            connection.getInfo()
            pool = connection.storagePoolLookupByName(POOL)
            pool.isActive()
            pool.info()
            for volume in pool.listAllVolumes(0):
                volume.name()
            connection.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
            for network in connection.listAllNetworks(0):
                (network.name(), network.isActive())
        return len(self._connections)


class Lag:
    """How late the event loop wakes somebody who asked for a moment."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sample(self) -> None:
        """Ask until cancelled."""
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(SAMPLE_SECONDS)
            self.seconds.append(time.perf_counter() - begun - SAMPLE_SECONDS)


class Ours:
    """The daemon's own looks and judgements."""

    def __init__(self, looker: Looker, reconciler: Reconciler, fleet: Sequence[Resident]) -> None:
        self._looker = looker
        self._reconciler = reconciler
        self._ids = [resident.host.id for resident in fleet]
        self.lag = Lag()

    async def poll(self) -> int:
        """Look at every host at once."""
        await asyncio.gather(*map(self._look, self._ids))
        return len(self._ids)

    async def go_round(self) -> float:
        """Look at every host in its own moment of the interval; return the seconds it took."""
        begun = time.perf_counter()
        sampling = asyncio.create_task(self.lag.sample())
        async with asyncio.TaskGroup() as looks:
            for number, host_id in enumerate(self._ids):
                due = begun + number * POLL_SECONDS / len(self._ids)
                await asyncio.sleep(max(0, due - time.perf_counter()))
                looks.create_task(self._look(host_id))
        sampling.cancel()
        return time.perf_counter() - begun

    async def _look(self, host_id: str) -> None:
        look = await self._looker.look(host_id)
        assert look.inventory is not None, look.host.health_reason
        await self._reconciler.reconcile(look)


def polls(directory: Path, hosts: int, each: int, rounds: int) -> tuple[Table, Ours, float]:
    """Compare looks at such a fleet with the floor."""
    keyring = Keyring([b"k" * 32], str(uuid4()))
    fleet = residents(directory, hosts, each)
    for resident in fleet:
        write_node_file(resident, keyring)
    bare = Bare(fleet)
    clock, nudged = SystemClock(), list[str]()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def opened() -> Ours:
            config = StoreConfig(database_url=f"sqlite:///{directory / 'state.db'}")
            store = await stack.enter_async_context(Store.open(config, clock=clock))
            drivers = await stack.enter_async_context(
                Drivers.open(directory, keyring, clock, lambda _host_id: None)
            )
            await record(store, fleet)
            listings = Listings(clock)
            looker = Looker(store, clock, drivers=drivers.get, listings=listings)
            judge = Reconciler(clock, listings, limits=Limits(), nudge=nudged.append)
            return Ours(looker, judge, fleet)

        ours = runner.run(opened())
        try:
            table = compare(
                f"{hosts:,} hosts of {each} domains",
                {"libvirt's calls, one by one": bare.poll, "ours": lambda: runner.run(ours.poll())},
                rounds,
            )
            took = max(runner.run(ours.go_round()) for _ in range(rounds))
        finally:
            runner.run(stack.aclose())
    assert not nudged, "nothing changed, and yet somebody was to be converged"
    return table, ours, took


def main() -> None:
    """Print the table, the loop's lag and the goals' verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    interpreter.settle()  # as the daemon does
    with tempfile.TemporaryDirectory() as directory:
        table, ours, took = polls(Path(directory), options.hosts, options.each, options.rounds)
    print(f"{table.markdown()}\n")
    times = 1 / table.line("ours").ratio
    print(
        f"{times:.1f}x the floor; the goal of {GOAL_TIMES}x is {met_or_missed(times <= GOAL_TIMES)}"
    )
    lag = quantiles(ours.lag.seconds, n=100)[98]
    print(
        f"at the daemon's pace, one round in {took:.1f} s of {POLL_SECONDS:g}:"
        f" loop lag p99 {duration(lag)}, worst {duration(max(ours.lag.seconds))};"
        f" the goal of {duration(GOAL_LAG_SECONDS)} is {met_or_missed(lag < GOAL_LAG_SECONDS)}"
    )


if __name__ == "__main__":
    main()
