"""P2: every host against every constraint, beside the least that such an answer needs.

The floor compares the same columns and hands back, host by host, the same values, the same names of
refusing filters and one sentence; it remembers nothing and its facts stand ready as Python lists.

    .venv/bin/python -m benchmarks.explanation
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np

from benchmarks.placement import DEMANDS, NOW, Bare, mixed_fleet
from benchmarks.rounds import Table, compare, duration
from scheduler.placement import Demand, Fleet, Policy, explain, explanation_document
from scheduler.placement.explanation import Explanation

GOAL_SECONDS = 0.050
GOAL_HOSTS = 10_000
SIZES = (100, 1_000, GOAL_HOSTS)
FILTERS = (
    *("state", "health", "freshness", "architecture", "labels", "image", "network", "pool"),
    *("cpu", "memory", "storage", "limits", "anti_affinity"),
)
OURS = "explain"

Row = tuple[str, str, float | None, tuple[object, ...], list[str], str | None]


class BareExplanation:
    """The floor: masks, `nonzero`, and one tuple a host."""

    def __init__(self, fleet: Fleet, demand: Demand) -> None:
        hosts, self.demand = fleet.records, demand
        columns = Bare(fleet, demand)
        *self.traits, self.apart = columns.traits
        self.seen, self.free = columns.seen, columns.free
        self.share, self.inverse = columns.share, columns.inverse
        self.ids, self.names = [host.id for host in hosts], [host.name for host in hosts]
        self.facts: tuple[list[object], ...] = (
            [host.arch for host in hosts],
            [dict(host.labels) for host in hosts],
            [list(host.observed_images) for host in hosts],
            [[name for name in host.observed_networks if host.offers(name)] for host in hosts],
            [host.pool if host.observed_pool_active else None for host in hosts],
        )
        self.states = [host.state.value for host in hosts]
        self.healths = [host.health.value for host in hosts]
        self.groups = [None if apart else demand.anti_affinity_group for apart in self.apart]

    def rows(self) -> list[Row]:
        """Return every host with its score, what it has, who refuses it, and a sentence."""
        refused: dict[int, list[str]] = {}
        hosts, filters = np.nonzero(~self._passing().T)
        for host, each in zip(hosts.tolist(), filters.tolist(), strict=True):
            refused.setdefault(host, []).append(FILTERS[each])
        ages = np.round(NOW.timestamp() - self.seen, 1).tolist()
        have = zip(
            self.states,
            self.healths,
            ages,
            *self.facts,
            *self.free.tolist(),
            self.groups,
            strict=True,
        )
        named = zip(self.ids, self.names, self._scores(), have, strict=True)
        return [
            (id, name, None, held, by, f"{name}: {by[0]}")
            if (by := refused.get(row))
            else (id, name, score, held, [], None)
            for row, (id, name, score, held) in enumerate(named)
        ]

    def _passing(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        wanted = self.demand.resources
        amounts = (wanted.vcpus, wanted.memory_mb, wanted.storage_mb, 1)
        state, health, *others = self.traits
        fresh = self.seen >= NOW.timestamp() - 60
        room = (free >= amount for free, amount in zip(self.free, amounts, strict=True))
        return np.stack([state, health, fresh, *others, *room, self.apart])

    def _scores(self) -> list[float]:
        wanted = self.demand.resources
        amounts = np.array([[wanted.vcpus], [wanted.memory_mb], [wanted.storage_mb]], np.float64)
        scores: list[float] = (self.share - self.inverse * amounts).min(axis=0).tolist()
        return scores


def check(rows: list[Row], explanation: Explanation) -> None:
    """Raise AssertionError unless floor and explanation say the same of every host."""
    assert tuple(each.filter for each in explanation.constraints) == FILTERS
    for row, host in zip(rows, explanation.hosts, strict=True):
        id, _, score, have, refused, message = row
        assert (id, tuple(refused)) == (host.host_id, host.refused)
        assert (score is None) == (host.score is None)
        assert (message is None) == (host.message is None)
        assert have == host.have, (have, host.have)


def explanations(size: int, rounds: int) -> Table:
    """Compare explanations of `size` hosts with the floor."""
    fleet, demand = mixed_fleet(size), DEMANDS[0]
    bare = BareExplanation(fleet, demand)

    def ours() -> Explanation:
        return explain(demand, fleet, Policy.SPREAD, now=NOW)

    check(bare.rows(), ours())
    makers: dict[str, Callable[[], object]] = {
        "bare numpy and tuples": bare.rows,
        OURS: ours,
        f"{OURS}, as a document": lambda: explanation_document(ours()),
        f"{OURS}, as JSON text": lambda: json.dumps(explanation_document(ours())),
    }
    count = max(1, 2_000 // size)
    bursts = {label: _burst(make, count) for label, make in makers.items()}
    return compare(f"{size:,} hosts", bursts, rounds)


def _burst(make: Callable[[], object], count: int) -> Callable[[], int]:
    def run() -> int:
        for _ in range(count):
            make()
        return count

    return run


def verdict(table: Table) -> str:
    """Return the best and the median explanation beside the goal, in words."""
    line = table.line(OURS)
    best = 1 / max(line.rates)
    kept = "met" if best <= GOAL_SECONDS else "MISSED"
    return (
        f"{table.name}: best {duration(best)}, median {duration(1 / line.rate)},"
        f" CPU {duration(line.cpu)}; the goal of {duration(GOAL_SECONDS)} is {kept}"
    )


def main() -> None:
    """Print the tables, the goal's verdict and the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    for size in options.sizes:
        table = explanations(size, options.rounds)
        each = duration(table.line(OURS).cpu / size)
        print(f"{table.markdown()}\n\n{each} of CPU a host\n")
        if size == GOAL_HOSTS:
            print(verdict(table), "\n")


if __name__ == "__main__":
    main()
