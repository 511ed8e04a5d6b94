"""What packs best: every policy on the same traces, when filling a fleet and under churn.

Our policies are the very scores that placement uses; the peers are the well-known ones, on the same
fleet. The bound on filling is by volume, which no packer can exceed, so densities are understated.
Run it with: python -m benchmarks.packing [--traces 5]
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from benchmarks.placement import NOW
from scheduler.model import HostResources, Overhead, Resources
from scheduler.placement import Fleet, Policy
from scheduler.placement.policy import scores

Column = NDArray[np.float64]
Score = Callable[[Fleet, Resources], Column]
Measure = Callable[[Score, np.random.Generator], float]

SKEWED = (
    (8, 2, 5),
    (4, 1, 10),
    (1, 16, 5),
    (2, 8, 10),
    (1, 0.5, 80),
    (2, 1, 40),
    (2, 2, 10),
    (4, 8, 20),
)
"""vCPUs, GiB of memory, GiB of storage: each kind wants much of one thing and little of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What is asked for: kinds of sandboxes and how often each comes."""

    kinds: tuple[Resources, ...]
    frequency: Column

    @classmethod
    def drawn(cls, draw: np.random.Generator) -> Mix:
        """Return the skewed kinds in proportions of one's own."""
        kinds = tuple(_kind(*kind) for kind in SKEWED)
        return cls(kinds=kinds, frequency=draw.dirichlet(np.full(len(kinds), 1.5)))

    @property
    def mean(self) -> Column:
        """Return the mean sandbox: vCPUs, memory, storage."""
        amounts = np.array([_amounts(kind) for kind in self.kinds], np.float64)
        return np.asarray(self.frequency @ amounts)

    def trace(self, draw: np.random.Generator, length: int) -> list[Resources]:
        """Return `length` sandboxes in the order they come."""
        chosen = draw.choice(len(self.kinds), length, p=self.frequency)
        return [self.kinds[number] for number in chosen]


def equal_fleet(mix: Mix, size: int, sandboxes_each: int) -> Fleet:
    """Return equal hosts, each the size of so many mean sandboxes."""
    return _fleet([mix.mean * sandboxes_each] * size)


def mixed_fleet(mix: Mix, draw: np.random.Generator, size: int) -> Fleet:
    """Return hosts of 20 to 80 mean sandboxes, of each resource 0.6 to 1.6 times as much."""
    return _fleet(
        mix.mean * draw.integers(20, 80) * draw.choice((0.6, 1.0, 1.6), 3) for _ in range(size)
    )


def hardware_fleet(size: int) -> Fleet:
    """Return equal hosts as they are sold, whatever is asked of them: 40 CPUs, 160 GiB, 700 GiB."""
    return _fleet([np.array((40.0, 160 * 1024.0, 700 * 1024.0))] * size)


def density(fleet: Fleet, trace: Sequence[Resources], score: Score) -> float:
    """Return how many sandboxes were placed before the first refusal, over the bound."""
    asked = np.cumsum([_amounts(kind) for kind in trace], axis=0)
    bound = int((asked <= fleet.limit[:3].sum(axis=1)).all(axis=1).argmin())
    for placed, wanted in enumerate(trace):
        host_id = _place(fleet, wanted, score)
        if host_id is None:
            return placed / bound
        fleet.claim(host_id, wanted)
    raise AssertionError("the trace did not fill the fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Churn:
    """Comings and goings: of five sandboxes four are short, one lives sixteen times as long."""

    load: float
    """Offered over available, of the resource that runs out first."""
    arrivals: int = 12_000

    def run(
        self, fleet: Fleet, mix: Mix, draw: np.random.Generator, score: Score
    ) -> tuple[float, float]:
        """Return the accepted share of the scarcest resource's hours, and the share of hosts used.

        Arrivals come at random, so what they find in the mean is the mean over time.
        """
        room = fleet.limit[:3].sum(axis=1) / mix.mean
        scarcest = int(room.argmin())
        lives = draw.exponential(np.where(draw.random(self.arrivals) < 0.8, 0.25, 4.0))
        times = np.cumsum(draw.exponential(1 / (self.load * room.min()), self.arrivals))
        trace = mix.trace(draw, self.arrivals)
        ends: list[tuple[float, int, str, Resources]] = []
        offered, taken, used = 0.0, 0.0, []
        for number, (now, life, wanted) in enumerate(zip(times, lives, trace, strict=True)):
            while ends and ends[0][0] <= now:
                _, _, host_id, gone = heapq.heappop(ends)
                fleet.release(host_id, gone)
            hours = life * _amounts(wanted)[scarcest] * (now > 0.4 * times[-1])
            offered += hours
            if hours:
                used.append(np.count_nonzero(fleet.free[3] < fleet.limit[3]) / len(fleet))
            host = _place(fleet, wanted, score)
            if host is not None:
                taken += hours
                fleet.claim(host, wanted)
                heapq.heappush(ends, (now + life, number, host, wanted))
        return taken / offered, mean(used)


def fill_mixed(score: Score, draw: np.random.Generator) -> float:
    """Fill a hundred hosts of many kinds."""
    mix = Mix.drawn(draw)
    return density(mixed_fleet(mix, draw, 100), mix.trace(draw, 10_000), score)


def fill_equal(score: Score, draw: np.random.Generator) -> float:
    """Fill a dozen equal hosts."""
    mix = Mix.drawn(draw)
    return density(equal_fleet(mix, 12, 40), mix.trace(draw, 1_000), score)


def churn(load: float) -> Measure:
    """Return a measure of what is accepted by sixty equal hosts that suit what is asked."""

    def measure(score: Score, draw: np.random.Generator) -> float:
        mix = Mix.drawn(draw)
        return Churn(load=load).run(equal_fleet(mix, 60, 12), mix, draw, score)[0]

    return measure


def churn_hardware(score: Score, draw: np.random.Generator) -> float:
    """Measure what is accepted by sixty hosts that were bought before anybody asked."""
    mix = Mix.drawn(draw)
    return Churn(load=0.97).run(hardware_fleet(60), mix, draw, score)[0]


def hosts_used(score: Score, draw: np.random.Generator) -> float:
    """Measure how many of sixty equal hosts are in use when half would do; less is better."""
    mix = Mix.drawn(draw)
    return Churn(load=0.5).run(equal_fleet(mix, 60, 12), mix, draw, score)[1]


MEASURES: Mapping[str, Measure] = {
    "fill 100 mixed": fill_mixed,
    "fill 12 equal": fill_equal,
    "churn, load 0.90": churn(0.90),
    "churn, load 0.97": churn(0.97),
    "churn, load 0.97, given hardware": churn_hardware,
    "hosts used, load 0.50": hosts_used,
}


def _left(fleet: Fleet, wanted: Resources) -> Column:
    return np.asarray(fleet.share - fleet.inverse * np.array(_amounts(wanted))[:, None])


def _ours(policy: Policy) -> Score:
    return lambda fleet, wanted: scores(policy, fleet, wanted)


def _dot_product(fleet: Fleet, wanted: Resources) -> Column:
    asked = fleet.inverse * np.array(_amounts(wanted))[:, None]
    return np.asarray((fleet.share * asked).sum(axis=0))


CANDIDATES: Mapping[str, Score] = {
    **{
        f"**{policy.value}**": _ours(policy)
        for policy in (Policy.PACK, Policy.BALANCED, Policy.SPREAD)
    },
    "even leftovers": lambda fleet, wanted: -_left(fleet, wanted).var(axis=0),
    "least growth of unevenness": lambda fleet, wanted: (
        fleet.share.var(axis=0) - _left(fleet, wanted).var(axis=0)
    ),
    "best fit": lambda fleet, wanted: -_left(fleet, wanted).sum(axis=0),
    "best fit, largest leftover": lambda fleet, wanted: -_left(fleet, wanted).max(axis=0),
    "dot product": _dot_product,
    "first fit": lambda fleet, wanted: -np.arange(len(fleet), dtype=np.float64),
    "most free memory": lambda fleet, wanted: fleet.free[1].astype(np.float64),
}


def main() -> None:
    """Print the table of docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--traces", type=int, default=5)
    traces = parser.parse_args().traces
    print("| policy |", " | ".join(MEASURES), "|")
    print("|---" * (1 + len(MEASURES)), "|", sep="")
    for name, score in CANDIDATES.items():
        cells = (_cell(measure, score, traces) for measure in MEASURES.values())
        print("|", name, "|", " | ".join(cells), "|", flush=True)


def _cell(measure: Measure, score: Score, traces: int) -> str:
    found = [measure(score, np.random.default_rng(seed)) for seed in range(traces)]
    return f"{mean(found):.3f} ({min(found):.3f})"


def _kind(vcpus: int, memory_gib: float, storage_gib: int) -> Resources:
    memory_mb = int(memory_gib * 1024)
    return Resources(
        vcpus=vcpus,
        memory_mb=memory_mb + Overhead().of(vcpus, memory_mb),
        storage_mb=storage_gib * 1024,
    )


def _amounts(resources: Resources) -> tuple[int, int, int]:
    return resources.vcpus, resources.memory_mb, resources.storage_mb


def _fleet(limits: Iterable[Column]) -> Fleet:
    return Fleet.of(
        HostResources(
            id=f"HST-{number:03}",
            name=f"kvm-{number:03}",
            address="10.0.0.1",
            updated_at=NOW,
            limit_cpus=round(limit[0]),
            limit_memory_mb=round(limit[1]),
            limit_storage_mb=round(limit[2]),
        )
        for number, limit in enumerate(limits)
    )


def _place(fleet: Fleet, wanted: Resources, score: Score) -> str | None:
    fits = (fleet.free[:3] >= np.array(_amounts(wanted))[:, None]).all(axis=0)
    if not fits.any():
        return None
    return fleet.records[int(np.where(fits, score(fleet, wanted), -np.inf).argmax())].id


if __name__ == "__main__":
    main()
