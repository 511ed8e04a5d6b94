"""What a decision saw, kept so that refusals can be told later and host by host.

It holds copies and frozen records only: the fleet may change as soon as the decision is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.model import HostResources
from scheduler.placement.column import BoolColumn, FloatColumn, IntColumn
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.filters import CAPACITIES, FILTERS

OUT = float("-inf")
"""The score of a host that is not in question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A host with room and its score, comparable within one decision only."""

    host_id: str
    host_name: str
    score: float
    transfer_seconds: float | None = None
    """How long copying the image there is expected to take; None where nothing is copied."""


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
    """Row by row: who was left after every filter, what was free, how the eligible scored."""

    question: Question
    hosts: tuple[HostResources, ...]
    before_room: BoolColumn
    room: BoolColumn
    free: IntColumn
    score: FloatColumn
    """`OUT` for those refused."""
    holding: BoolColumn | None = None
    """Who holds the image; None when it is no image of the control node's."""

    def ranking(self, count: int) -> tuple[Scored, ...]:
        """Return the best of the eligible hosts, best first."""
        return tuple(self.scored(row, score) for row, score in best(self.score.copy(), count))

    def scored(self, row: int, score: float) -> Scored:
        """Return the host of a row with its score and what a copy to it would take."""
        copied = self.holding is not None and not self.holding[row]
        return Scored(
            host_id=self.hosts[row].id,
            host_name=self.hosts[row].name,
            score=score,
            transfer_seconds=self.question.demand.transfer_seconds if copied else None,
        )

    def refusals(self) -> tuple[Refusal, ...]:
        """Return every refused host's first refusal, in order of name."""
        reached = self._reached()
        rows = np.flatnonzero(reached < len(FILTERS)).tolist()
        return tuple(self._refusal(row, FILTERS[reached[row]]) for row in rows)

    def messages(self) -> dict[int, str]:
        """Return, by row, the words of every refused host's first refusal."""
        reached = self._reached()
        rows = np.flatnonzero(reached < len(FILTERS))
        firsts = zip(rows.tolist(), reached[rows].tolist(), self.free.T[rows].tolist(), strict=True)
        return {
            row: self._message(Case(host=self.hosts[row], free=free), FILTERS[first])
            for row, first, free in firsts
        }

    def nearest(self, count: int) -> tuple[Refusal, ...]:
        """Return the hosts that came closest: short of the least, else past the most filters.

        Who was refused for want of room is nearer than who was refused for what it is; who is
        merely not the host that the request is pinned to is no miss at all.
        """
        reached = self._reached()
        fit, pinned = self.before_room[-1], self.question.demand.host is not None
        lacking = self._by_shortfall(fit & (reached < len(FILTERS)))
        unfit = np.where(~fit & (reached >= pinned), reached.astype(np.float64), OUT)
        found = best(lacking, count)
        found += best(unfit, count - len(found))
        return tuple(self._refusal(row, FILTERS[reached[row]]) for row, _ in found)

    def _reached(self) -> NDArray[np.uint8]:
        """Return how many filters each host passed in a row."""
        passed = [
            np.add.reduce(steps.view(np.uint8), axis=0, dtype=np.uint8)
            for steps in (self.before_room, self.room)
        ]
        reached: NDArray[np.uint8] = passed[0] + passed[1]
        return reached

    def _by_shortfall(self, lacking: BoolColumn) -> FloatColumn:
        closeness, rows = np.full(len(self.hosts), OUT), np.flatnonzero(lacking)
        if rows.size:
            closeness[rows] = -shortfalls(self.free[:, rows], self.question).max(axis=0)
        return closeness

    def _refusal(self, row: int, by: Filter) -> Refusal:
        host = self.hosts[row]
        case = Case(host=host, free=self.free[:, row].tolist())
        return Refusal(
            host_id=host.id,
            host_name=host.name,
            filter=by.name,
            have=by.lacking(case, self.question),
            need=by.need(self.question),
            message=self._message(case, by),
        )

    def _message(self, case: Case, by: Filter) -> str:
        return f"{case.host.name}: {by.reason(case, self.question)}"


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
