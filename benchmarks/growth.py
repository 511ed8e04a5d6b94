"""P14: how the time of a decision, a claim, a poll and a reap grows with what there is.

Each is measured at several sizes by the CPU time of this process, which hardly moves with the
neighbours' load. The exponent is the slope of time over size, both as logarithms: 1 is growth with
the size itself, a logarithm's is near 0. Run: python -m benchmarks.growth
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from uuid import uuid4

from benchmarks.claims import add_hosts, claims, submit_all
from benchmarks.fleets import record, residents, write_node_file
from benchmarks.placement import DEMANDS, NOW, mixed_fleet
from benchmarks.rounds import duration
from scheduler import logs
from scheduler.clock import SystemClock
from scheduler.control.listings import Listings
from scheduler.control.looks import Looker
from scheduler.control.reaper import Reaper
from scheduler.control.reconciler import Reconciler
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.lifecycle.steps import Limits
from scheduler.placement import Policy, choose
from scheduler.store import Store, StoreConfig

ROUNDS = 5
WRITERS = 64

Measure = Callable[[int], Awaitable[float]]
"""CPU seconds of one operation where there are so many of what it grows with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What was measured of one operation."""

    seconds: Mapping[int, float]

    @property
    def exponent(self) -> float:
        """Return the slope from the smallest size to the largest."""
        small, large = min(self.seconds), max(self.seconds)
        return math.log(self.seconds[large] / self.seconds[small]) / math.log(large / small)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An operation, what it grows with, and how fast it may."""

    name: str
    of: str
    order: str
    most: float
    sizes: Sequence[int]
    measure: Measure


async def decision(hosts: int) -> float:
    """Choose a host for each of a few demands."""
    fleet = mixed_fleet(hosts)

    async def once() -> int:
        for demand in DEMANDS * 5:
            choose(demand, fleet, Policy.SPREAD, now=NOW)
        return len(DEMANDS) * 5

    return await _cpu(once)


async def claim(hosts: int) -> float:
    """Commit claims over so many hosts, as many at once as share a transaction."""
    async with _store() as store:
        await store.submit(partial(add_hosts, hosts))
        fresh = claims(hosts)

        async def once() -> int:
            await submit_all(store, [[next(fresh) for _ in range(10)] for _ in range(WRITERS)])
            return WRITERS * 10

        return await _cpu(once)


async def poll(domains: int) -> float:
    """Look at one host on which so many sandboxes run."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as name:
        keyring = Keyring([b"k" * 32], str(uuid4()))
        fleet = residents(Path(name), 1, domains)
        write_node_file(fleet[0], keyring)
        async with (
            _store() as store,
            Drivers.open(Path(name), keyring, clock, lambda _host_id: None) as drivers,
        ):
            await record(store, fleet)
            listings = Listings(clock)
            looker = Looker(store, clock, drivers=drivers.get, listings=listings)
            reconciler = Reconciler(clock, listings, limits=Limits(), nudge=lambda _id: None)

            async def once() -> int:
                for _ in range(20):
                    await reconciler.reconcile(await looker.look(fleet[0].host.id))
                return 20

            return await _cpu(once)


async def reap(leases: int) -> float:
    """Look for leases that are over among so many that are not."""
    with tempfile.TemporaryDirectory() as name:
        fleet = residents(Path(name), 10, leases // 10, ends=timedelta(days=30))
        async with _store() as store:
            await record(store, fleet)
            reaper = Reaper(
                store,
                SystemClock(),
                stopped_retention_seconds=3600,
                wake=lambda _id: None,
                count=lambda _what: None,
            )

            async def once() -> int:
                for _ in range(200):
                    await reaper.reap()
                return 200

            return await _cpu(once)


PROMISES = (
    Promise(
        name="decision",
        of="hosts",
        order="O(n)",
        most=1.05,
        sizes=(1_000, 10_000, 50_000),
        measure=decision,
    ),
    Promise(
        name="claim",
        of="hosts",
        order="O(log n)",
        most=0.15,
        sizes=(1_000, 10_000, 50_000),
        measure=claim,
    ),
    Promise(
        name="poll of a host",
        of="its domains",
        order="O(n)",
        most=1.05,
        sizes=(10, 100, 1_000),
        measure=poll,
    ),
    Promise(
        name="reap, none due",
        of="live leases",
        order="O(log n)",
        most=0.15,
        sizes=(1_000, 10_000, 50_000),
        measure=reap,
    ),
)


@asynccontextmanager
async def _store() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as directory:
        config = StoreConfig(database_url=f"sqlite:///{directory}/state.db")
        async with Store.open(config) as store:
            yield store


async def _cpu(once: Callable[[], Awaitable[int]]) -> float:
    """Return the median CPU seconds of an operation, after one round to warm up."""
    await once()
    found = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        count = await once()
        found.append((time.process_time() - begun) / count)
    return median(found)


async def main() -> None:
    """Print every operation's times and its exponent beside the promised order."""
    print("| operation | grows with | sizes | CPU each | exponent | promised |")
    print("|---|---|---|---|---|---|")
    for one in PROMISES:
        growth = Growth(seconds={size: await one.measure(size) for size in one.sizes})
        kept = "" if growth.exponent <= one.most else " **MISSED**"
        sizes = ", ".join(f"{size:,}" for size in one.sizes)
        times = ", ".join(map(duration, growth.seconds.values()))
        print(
            f"| {one.name} | {one.of} | {sizes} | {times} | {growth.exponent:.2f}{kept}"
            f" | {one.order}, at most {one.most} |",
            flush=True,
        )


if __name__ == "__main__":
    logs.configure("error")
    asyncio.run(main())
