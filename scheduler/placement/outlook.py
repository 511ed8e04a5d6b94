"""What becomes of a demand that no host takes now: is there hope, and what would help.

The change named is the smallest by judgement: asking for a little less beats an operator's act,
which beats different hardware. Asking for less than half is another request, not a change to this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

import numpy as np

from scheduler.placement.column import BoolColumn
from scheduler.placement.evidence import shortfalls
from scheduler.placement.filter import Case, Question
from scheduler.placement.filters import FILTERS, RESOURCES, hopeful, verdicts
from scheduler.placement.fleet import Fleet

MOST_LESS = 0.5
"""The share of an amount that one may be asked to do without."""

_EFFORTS: Mapping[str, float] = {
    "freshness": 0.05,
    "pin": 0.1,
    "breaker": 0.2,
    "state": 0.5,
    "limits": 0.6,
    "anti_affinity": 0.7,
    "labels": 0.8,
    "pool": 0.85,
    "network": 0.9,
    "image": 0.95,
    "image_room": 0.97,
    "health": 1.0,
    "architecture": 2.0,
}
"""How much is asked of people by each change, beside asking for less: the shares given up."""


class Outcome(StrEnum):
    """How a decision ends."""

    PLACED = "placed"
    CAPACITY_EXHAUSTED = "capacity_exhausted"
    """No host has room now; trying again helps."""
    CONSTRAINT_IMPOSSIBLE = "constraint_impossible"
    """No host of this fleet could ever take it; trying again does not help."""


def outlook(fleet: Fleet, question: Question) -> tuple[Outcome, str | None]:
    """Return how a demand that nobody takes ends, and the smallest change that would admit it."""
    hope = bool(hopeful(fleet, question).any())
    outcome = Outcome.CAPACITY_EXHAUSTED if hope else Outcome.CONSTRAINT_IMPOSSIBLE
    if not len(fleet):
        return outcome, "add a host"
    passing = verdicts(fleet, question)
    changes = [*_acts(fleet, question, passing), *_cuts(fleet, question, passing)]
    return outcome, min(changes)[1] if changes else None


def _acts(fleet: Fleet, question: Question, passing: BoolColumn) -> Iterator[tuple[float, str]]:
    """Yield what would turn one filter's mind where it alone refuses, with its effort."""
    refused_once = np.count_nonzero(passing, axis=0) == len(FILTERS) - 1
    for each, passed in zip(FILTERS, passing, strict=True):
        rows = np.flatnonzero(refused_once & ~passed)
        change = each.change(_case(fleet, int(rows[0])), question) if rows.size else None
        if change is not None:
            yield _EFFORTS[each.name], change


def _cuts(fleet: Fleet, question: Question, passing: BoolColumn) -> Iterator[tuple[float, str]]:
    """Yield how much less to ask for where only resources refuse, with the shares given up."""
    others = [row for row, each in enumerate(FILTERS) if each not in RESOURCES]
    rows = np.flatnonzero(passing[others].all(axis=0))
    short = shortfalls(fleet.free[:, rows], question)
    near = np.flatnonzero((short <= MOST_LESS).all(axis=0))
    if near.size:
        efforts = short[:, near].sum(axis=0)
        case = _case(fleet, int(rows[near[efforts.argmin()]]))
        missing = [each.wanted(question.demand) - case.free[each.row] for each in RESOURCES]
        cuts = [
            each.less(short) for each, short in zip(RESOURCES, missing, strict=True) if short > 0
        ]
        yield float(efforts.min()), f"ask for {' and '.join(cuts)} ({case.host.name} would take it)"


def _case(fleet: Fleet, row: int) -> Case:
    return Case(host=fleet.records[row], free=fleet.free[:, row].tolist())
