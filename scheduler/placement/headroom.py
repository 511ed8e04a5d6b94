"""How many sandboxes of one kind a fleet could still take: what if, and nothing is claimed.

Like ones take the same wherever they go, so each host is counted by itself, by the filters that
decide placements, and the fleet takes the sum: whatever order they come in and whatever the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from scheduler.placement.choice import STALE_AFTER_SECONDS
from scheduler.placement.demand import Demand
from scheduler.placement.explanation import Explanation, Weighed, explain
from scheduler.placement.filter import Question
from scheduler.placement.filters import FILTERS, verdicts
from scheduler.placement.fleet import UNLIMITED, Fleet
from scheduler.placement.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """vCPUs, MiB of memory and of storage, and sandboxes; None where nothing limits these."""

    vcpus: int
    memory_mb: int
    storage_mb: int
    sandboxes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One host: how many it takes, and what ends first or keeps all out."""

    weighed: Weighed
    fits: int
    bound_by: str | None
    """The filter that would refuse the next one; None where one refuses all of them."""
    free: Amounts
    """What is left to claim."""
    limit: Amounts
    """What there would be on the empty host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What all hosts take together, and each of them, in order of name."""

    explanation: Explanation
    hosts: tuple[Room, ...]

    @property
    def fits(self) -> int:
        """Return how many the fleet takes."""
        return sum(host.fits for host in self.hosts)


def headroom(
    demand: Demand,
    fleet: Fleet,
    *,
    now: datetime,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> Headroom:
    """Return how many sandboxes like `demand` the fleet takes; changes nothing."""
    # The policy says who takes the first one, and nothing of how many there can be.
    explanation = explain(
        demand, fleet, Policy.SPREAD, now=now, stale_after_seconds=stale_after_seconds
    )
    question = Question(demand=demand, now=now, stale_after_seconds=stale_after_seconds)
    counted = [(each.name, each.most(fleet, question)) for each in FILTERS]
    bounds = [(name, most.tolist()) for name, most in counted if most is not None]
    free, limit = np.maximum(fleet.free, 0).T.tolist(), fleet.limit.T.tolist()
    return Headroom(
        explanation=explanation,
        hosts=tuple(
            _room(weighed, [(most[row], name) for name, most in bounds], free[row], limit[row])
            for row, weighed in enumerate(explanation.hosts)
        ),
    )


def fitting(
    demand: Demand,
    fleet: Fleet,
    *,
    now: datetime,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> int:
    """Return the same number as `headroom` and no more, cheaply: nothing is said of any host."""
    question = Question(demand=demand, now=now, stale_after_seconds=stale_after_seconds)
    willing = verdicts(fleet, question).all(axis=0)
    bounds = [most for each in FILTERS if (most := each.most(fleet, question)) is not None]
    return sum(np.where(willing, np.minimum.reduce(bounds), 0).tolist())


def _room(
    weighed: Weighed, bounds: list[tuple[int, str]], free: list[int], limit: list[int]
) -> Room:
    fits, bound_by = min(bounds, key=lambda bound: bound[0]) if weighed.eligible else (0, None)
    limited = limit[3] != UNLIMITED
    return Room(
        weighed=weighed,
        fits=fits,
        bound_by=bound_by,
        free=_amounts(free, limited=limited),
        limit=_amounts(limit, limited=limited),
    )


def _amounts(row: list[int], *, limited: bool) -> Amounts:
    vcpus, memory_mb, storage_mb, sandboxes = row
    return Amounts(
        vcpus=vcpus,
        memory_mb=memory_mb,
        storage_mb=storage_mb,
        sandboxes=sandboxes if limited else None,
    )
