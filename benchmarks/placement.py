"""P1: what a decision costs beside the bare numpy that any decision needs.

The floor makes the same comparisons, counts after each and scores the same way, in straight lines
on preallocated columns; it gives back a row and thirteen numbers, and could not say why to anyone.

    .venv/bin/python -m benchmarks.placement
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np

from benchmarks.rounds import Table, compare
from scheduler.model import HostHealth, HostResources, HostState, Resources
from scheduler.placement import (
    Demand,
    Fleet,
    Policy,
    choose,
    decision_of,
)

Value = TypeVar("Value")
Decide = Callable[[Demand], object]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIZES = (100, 1_000, 10_000)
SHAPES = ((2, 2_304, 10_240), (4, 8_512, 40_960), (1, 768, 5_120), (8, 16_768, 81_920))
DEMANDS = tuple(
    Demand(
        resources=Resources(vcpus=vcpus, memory_mb=memory_mb, storage_mb=storage_mb),
        image="debian-12",
        network="default",
        pool="default",
        arch="x86_64",
        selector={"tier": "ci"},
        anti_affinity_group="database",
    )
    for vcpus, memory_mb, storage_mb in SHAPES
)


def mixed_fleet(size: int, seed: int = 1) -> Fleet:
    """Return hosts of 32 to 128 CPUs, half full, of which every filter refuses a few."""
    draw = random.Random(seed)
    hosts = [_host(number, draw) for number in range(size)]
    holding = [host.id for host in hosts if draw.random() < 0.02]
    return Fleet.of(hosts, dict.fromkeys(holding, ("database",)))


def _host(number: int, draw: random.Random) -> HostResources:
    cpus = draw.choice((32, 64, 96, 128))
    limit = Resources(vcpus=4 * cpus, memory_mb=4_096 * cpus, storage_mb=20_480 * cpus)

    def mostly(usual: Value, rare: Value) -> Value:
        return usual if draw.random() < 0.97 else rare

    return HostResources(
        id=f"HST-{number:05}",
        name=f"kvm-{number:05}",
        address=f"10.0.{number // 256}.{number % 256}",
        updated_at=NOW,
        state=mostly(HostState.ACTIVE, HostState.CORDONED),
        health=mostly(HostHealth.UP, HostHealth.DOWN),
        observed_at=NOW - timedelta(seconds=mostly(5, 100)),
        arch=mostly("x86_64", "aarch64"),
        labels={"tier": mostly("ci", "agents")},
        observed_images=(mostly("debian-12", "alpine-3"),),
        observed_networks=(mostly("default", "isolated"),),
        observed_pool_active=mostly(True, False),
        limit_cpus=limit.vcpus,
        limit_memory_mb=limit.memory_mb,
        limit_storage_mb=limit.storage_mb,
        limit_sandboxes=100,
        reserved_cpus=draw.randrange(limit.vcpus),
        reserved_memory_mb=draw.randrange(limit.memory_mb),
        reserved_storage_mb=draw.randrange(limit.storage_mb),
        reserved_sandboxes=draw.randrange(101),
    )


class Bare:
    """The floor: columns of one's own, and nothing but numpy calls on them."""

    def __init__(self, fleet: Fleet, demand: Demand) -> None:
        hosts, size = fleet.records, len(fleet)
        self.traits = [
            np.array([host.state is HostState.ACTIVE for host in hosts]),
            np.array([host.health is HostHealth.UP for host in hosts]),
            np.array([host.arch == demand.arch for host in hosts]),
            np.array([host.labels == demand.selector for host in hosts]),
            np.array([demand.image in host.observed_images for host in hosts]),
            np.array([demand.network in host.observed_networks for host in hosts]),
            np.array([host.observed_pool_active for host in hosts]),
            fleet.without("database").copy(),
        ]
        self.seen, self.free = fleet.seen.copy(), fleet.free.copy()
        self.share, self.inverse = fleet.share.copy(), fleet.inverse.copy()
        self.eligible, self.mask = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
        self.left, self.apart = np.zeros((3, size)), np.zeros((3, size))
        self.limit, self.score = fleet.limit[3].copy(), np.zeros(size)
        self.score_by = {Policy.SPREAD: self.spread, Policy.PACK: self.pack}

    def spread(self) -> None:
        """Score by what is scarcest of the leftovers."""
        np.minimum.reduce(self.left, axis=0, out=self.score)

    def pack(self) -> None:
        """Score by how even the leftovers are, and by whether a host is opened."""
        for row in range(3):
            np.subtract(self.left[row], self.left[row - 1], self.apart[row])
        np.multiply(self.apart, self.apart, self.apart)
        np.add.reduce(self.apart, axis=0, out=self.score)
        np.equal(self.free[3], self.limit, self.mask)
        np.add(self.score, 0.018, self.score, where=self.mask)
        np.negative(self.score, self.score)

    def decide(self, demand: Demand, policy: Policy) -> tuple[int, list[int]]:
        """Return the best row and how many hosts were left after each of the thirteen filters."""
        wanted = demand.resources
        amounts = (wanted.vcpus, wanted.memory_mb, wanted.storage_mb, 1)
        eligible, mask = self.eligible, self.mask
        left: list[int] = []
        eligible[:] = True
        for trait in self.traits:
            np.logical_and(eligible, trait, eligible)
            left.append(int(np.count_nonzero(eligible)))
        np.greater_equal(self.seen, NOW.timestamp() - 60, mask)
        np.logical_and(eligible, mask, eligible)
        left.append(int(np.count_nonzero(eligible)))
        for free, amount in zip(self.free, amounts, strict=True):
            np.greater_equal(free, amount, mask)
            np.logical_and(eligible, mask, eligible)
            left.append(int(np.count_nonzero(eligible)))
        np.multiply(self.inverse, np.array(amounts[:3], np.float64)[:, None], self.left)
        np.subtract(self.share, self.left, self.left)
        self.score_by[policy]()
        np.copyto(self.score, -np.inf, where=np.logical_not(eligible, mask))
        return int(self.score.argmax()), left


def decisions(size: int, policy: Policy, rounds: int = 21) -> Table:
    """Compare decisions over `size` hosts with the floor of the policy."""
    fleet = mixed_fleet(size)
    bare = Bare(fleet, DEMANDS[0])
    for demand in DEMANDS:
        choice = choose(demand, fleet, policy, now=NOW)
        assert choice.chosen is not None
        assert choice.chosen.host_id == fleet.records[bare.decide(demand, policy)[0]].id

    def anew(demand: Demand) -> object:
        fleet.memory.clear()
        return choose(demand, fleet, policy, now=NOW)

    def stored(demand: Demand) -> object:
        choice = choose(demand, fleet, policy, now=NOW)
        return decision_of(choice, id="DEC-1", sandbox_id="SBX-1", at=NOW)

    candidates: dict[str, Decide] = {
        "bare numpy": lambda demand: bare.decide(demand, policy),
        "choose": lambda demand: choose(demand, fleet, policy, now=NOW),
        "choose, just after a host's record changed": anew,
        "choose, and write the decision out": stored,
    }
    bursts = {label: _burst(decide, size) for label, decide in candidates.items()}
    return compare(f"{policy.value}, {size:,} hosts", bursts, rounds)


def _burst(decide: Decide, size: int) -> Callable[[], int]:
    count = 300 if size <= 1_000 else 100

    def run() -> int:
        for turn in range(count):
            decide(DEMANDS[turn % len(DEMANDS)])
        return count

    return run


def main() -> None:
    """Print the tables of docs/performance.md."""
    for policy in (Policy.SPREAD, Policy.PACK):
        for size in SIZES:
            print(decisions(size, policy).markdown(), "\n")


if __name__ == "__main__":
    main()
