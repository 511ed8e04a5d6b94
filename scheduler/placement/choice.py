"""The decision: which host, and if none, why not.

A choice is a value: it keeps how far each host got and what it had free then. Refusals host by host
are written out for those who ask, so that a decision costs one scan and its counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from scheduler.placement.column import BoolColumn
from scheduler.placement.demand import Demand
from scheduler.placement.evidence import OUT, Evidence, best
from scheduler.placement.evidence import Refusal as Refusal
from scheduler.placement.filter import Filter, Question
from scheduler.placement.filters import FILTERS
from scheduler.placement.fleet import Fleet
from scheduler.placement.outlook import Outcome, outlook
from scheduler.placement.policy import Policy, scores

STALE_AFTER_SECONDS = 60.0
ALTERNATES = 2
NEAREST = 3
MOST_HOSTS_TOLD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A host with room and its score, comparable within one decision only."""

    host_id: str
    host_name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was decided and why; `refusals` counts hosts by the first filter that refused them."""

    outcome: Outcome
    policy: Policy
    demand: Demand
    chosen: Scored | None
    alternates: tuple[Scored, ...]
    refusals: Mapping[str, int]
    smallest_change: str | None
    """What would admit the request, when nobody did."""
    evidence: Evidence = field(repr=False, compare=False)

    @property
    def nearest(self) -> tuple[Refusal, ...]:
        """Write out the hosts that came closest among those that refused."""
        return self.evidence.nearest(NEAREST)

    @property
    def hosts(self) -> tuple[Refusal, ...]:
        """Write out every host's first refusal; of a large fleet only when nobody was chosen."""
        if self.chosen is not None and len(self.evidence.hosts) > MOST_HOSTS_TOLD:
            return ()
        return self.evidence.refusals()


def choose(
    demand: Demand,
    fleet: Fleet,
    policy: Policy,
    *,
    now: datetime,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> Choice:
    """Return the best host for `demand` by `policy`, or why there is none; changes nothing."""
    question = Question(demand=demand, now=now, stale_after_seconds=stale_after_seconds)
    asked, eligible, refusals = _scan(fleet, question)
    ranked = _ranked(demand, fleet, policy, eligible)
    outcome, change = (Outcome.PLACED, None) if ranked else outlook(fleet, question)
    passed = fleet.scratch.passing[: len(asked)].view(np.uint8)
    return Choice(
        outcome=outcome,
        policy=policy,
        demand=demand,
        chosen=ranked[0] if ranked else None,
        alternates=ranked[1:],
        refusals=refusals,
        smallest_change=change,
        evidence=Evidence(
            question=question,
            filters=asked,
            reached=np.add.reduce(passed, 0, np.uint8),
            hosts=fleet.records,
            free=fleet.free.copy(),
        ),
    )


def _scan(
    fleet: Fleet, question: Question
) -> tuple[tuple[Filter, ...], BoolColumn, Mapping[str, int]]:
    """Return the filters asked, who passed them all, and how many each refused first."""
    asked: list[Filter] = []
    refusals: dict[str, int] = {}
    eligible, left = fleet.scratch.everyone, len(fleet)
    for each in FILTERS:
        mask = each.passing(fleet, question)
        if mask is None:
            continue
        eligible = np.logical_and(eligible, mask, fleet.scratch.steps[len(asked)])
        asked.append(each)
        passed = int(np.count_nonzero(eligible))
        if passed != left:
            refusals[each.name] = left - passed
            left = passed
    return tuple(asked), eligible, refusals


def _ranked(
    demand: Demand, fleet: Fleet, policy: Policy, eligible: BoolColumn
) -> tuple[Scored, ...]:
    """Return the best hosts of the eligible, best first."""
    score = scores(policy, fleet, demand.resources)
    np.copyto(score, OUT, where=np.logical_not(eligible, fleet.scratch.mask))
    hosts = fleet.records
    return tuple(
        Scored(host_id=hosts[row].id, host_name=hosts[row].name, score=value)
        for row, value in best(score, 1 + ALTERNATES)
    )
