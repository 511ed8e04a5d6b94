"""What a decision saw, kept so that refusals can be told later and host by host.

It holds copies and frozen records only: the fleet may change as soon as the decision is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.model import HostResources
from scheduler.placement.column import FloatColumn, IntColumn
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.filters import CAPACITIES

OUT = float("-inf")
"""The score of a host that is not in question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one host was refused: the first filter that did, what it found and what it wanted."""

    host_id: str
    host_name: str
    filter: str
    have: object
    need: object
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """How far every host got: `reached` counts the `filters` that let it through."""

    question: Question
    filters: tuple[Filter, ...]
    reached: NDArray[np.uint8]
    hosts: tuple[HostResources, ...]
    free: IntColumn

    def refusals(self) -> tuple[Refusal, ...]:
        """Return every refused host's first refusal, in order of name."""
        rows = np.flatnonzero(self.reached < len(self.filters)).tolist()
        return tuple(self.refusal(row) for row in rows)

    def nearest(self, count: int) -> tuple[Refusal, ...]:
        """Return the hosts that came closest: short of the least, else past the most filters.

        Who was refused for want of room is nearer than who was refused for what it is; who is
        merely not the host that the request is pinned to is no miss at all.
        """
        found = best(self._by_shortfall(), count)
        found += best(self._by_progress(), count - len(found))
        return tuple(self.refusal(row) for row, _ in found)

    def refusal(self, row: int) -> Refusal:
        """Return why the host in `row` was refused."""
        host, by = self.hosts[row], self.filters[self.reached[row]]
        case = Case(host=host, free=self.free[:, row].tolist())
        return Refusal(
            host_id=host.id,
            host_name=host.name,
            filter=by.name,
            have=by.lacking(case, self.question),
            need=by.need(self.question),
            message=f"{host.name}: {by.reason(case, self.question)}",
        )

    def _by_shortfall(self) -> FloatColumn:
        closeness = np.full(len(self.hosts), OUT)
        rows = np.flatnonzero(self._fit() & (self.reached < len(self.filters)))
        if rows.size:
            closeness[rows] = -shortfalls(self.free[:, rows], self.question).max(axis=0)
        return closeness

    def _by_progress(self) -> FloatColumn:
        pinned = self.question.demand.host is not None
        missed = ~self._fit() & (self.reached >= pinned)
        return np.where(missed, self.reached.astype(np.float64), OUT)

    def _fit(self) -> NDArray[np.bool_]:
        """Return which hosts would do if only they had room."""
        return self.reached >= self.filters.index(CAPACITIES[0])


def shortfalls(free: IntColumn, question: Question) -> NDArray[np.float64]:
    """Return how much of each amount is missing, as a share of what is wanted; 0 is enough."""
    wanted = np.array([[each.wanted(question.demand)] for each in CAPACITIES], np.float64)
    return np.maximum(0.0, (wanted - free) / np.maximum(1.0, wanted))


def best(scores: FloatColumn, count: int) -> list[tuple[int, float]]:
    """Return the rows of the greatest scores with them, the first of equals first.

    `scores` is used up on the way.
    """
    found: list[tuple[int, float]] = []
    while len(found) < min(count, scores.size):
        row = int(scores.argmax())
        score = float(scores[row])
        if score == OUT:
            break
        found.append((row, score))
        scores[row] = OUT
    return found
