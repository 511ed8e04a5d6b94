"""One pass of a demand over the fleet: who is left after every filter, and how far everyone got.

What the filters before room say depends on the hosts' records and on time, not on claims. It is
remembered until a record changes or a fact grows stale, so that most decisions only look for room.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.placement.column import BoolColumn
from scheduler.placement.filter import Filter, Question
from scheduler.placement.filters import BEFORE_ROOM, ROOM
from scheduler.placement.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """What came of a pass; the hosts are in the fleet's order."""

    steps: BoolColumn
    """Row f: who is left after filter f, as only those are who passed all before it."""
    left: int
    """How many are left after the last filter."""
    refusals: Mapping[str, int]
    """How many hosts each filter was the first to refuse; nobody is left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Standing:
    """A pass over the filters before room, and from when it holds for how long."""

    scan: Scan
    since: float
    """Unix time of the pass."""
    oldest: float
    """When the first of its fresh hosts to grow stale was observed, Unix time."""


def scan(fleet: Fleet, question: Question) -> tuple[Scan, Scan]:
    """Ask every filter in order: those before room, then those of room.

    The steps of the latter are a buffer of the fleet's, good until the next scan.
    """
    before = _before_room(fleet, question)
    return before, _pass(fleet, question, ROOM, before)


def _before_room(fleet: Fleet, question: Question) -> Scan:
    key, now = _asked(question), question.now.timestamp()
    oldest = now - question.stale_after_seconds
    known = fleet.memory.get(key)
    if isinstance(known, _Standing) and known.since <= now and known.oldest >= oldest:
        return known.scan
    everyone = Scan(steps=fleet.scratch.everyone[None], left=len(fleet), refusals={})
    found = _pass(fleet, question, BEFORE_ROOM, everyone)
    kept = replace(found, steps=found.steps.copy())
    fresh = fleet.seen[fleet.seen >= oldest]
    fleet.remember(key, _Standing(scan=kept, since=now, oldest=fresh.min(initial=np.inf)))
    return kept


def _asked(question: Question) -> Hashable:
    demand = question.demand
    return (
        demand.image,
        demand.image_digest,
        demand.network,
        demand.pool,
        demand.arch,
        demand.host,
        tuple(sorted(demand.selector.items())),
        question.stale_after_seconds,
    )


def _pass(fleet: Fleet, question: Question, filters: Sequence[Filter], before: Scan) -> Scan:
    scratch = fleet.scratch
    passed, left, refusals = before.steps[-1], before.left, dict(before.refusals)
    for each, step in zip(filters, scratch.steps, strict=False):
        mask = each.passing(fleet, question)
        passed = np.logical_and(passed, scratch.everyone if mask is None else mask, step)
        still = int(np.count_nonzero(step))
        if still != left:
            refusals[each.name] = left - still
            left = still
    return Scan(steps=scratch.passed[: len(filters)], left=left, refusals=refusals)
