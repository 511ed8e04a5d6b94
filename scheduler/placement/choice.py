"""The decision: which host, and if none, why not.

A choice is a value: it keeps how far each host got and what it had free then. Refusals host by host
are written out for those who ask, so that a decision costs one scan and its counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from scheduler.placement.demand import Demand
from scheduler.placement.evidence import OUT, Evidence, Refusal, Scored
from scheduler.placement.filter import Question
from scheduler.placement.fleet import Fleet
from scheduler.placement.images import holding, less_for_copies
from scheduler.placement.outlook import Outcome, outlook
from scheduler.placement.policy import Policy, scores
from scheduler.placement.scan import scan

STALE_AFTER_SECONDS = 60.0
ALTERNATES = 2
NEAREST = 3
MOST_HOSTS_TOLD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was decided and why; `refusals` counts hosts by the first filter that refused them."""

    outcome: Outcome
    policy: Policy
    demand: Demand
    chosen: Scored | None
    refusals: Mapping[str, int]
    smallest_change: str | None
    """What would admit the request, when nobody did."""
    evidence: Evidence = field(repr=False, compare=False)

    @property
    def alternates(self) -> tuple[Scored, ...]:
        """Write out the next best hosts."""
        return self.evidence.ranking(1 + ALTERNATES)[1:]

    @property
    def nearest(self) -> tuple[Refusal, ...]:
        """Write out the hosts that came closest among those that refused."""
        return self.evidence.nearest(NEAREST) if self.refusals else ()

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
    before, room = scan(fleet, question)
    score = less_for_copies(scores(policy, fleet, demand.resources), policy, fleet, demand)
    refused = np.logical_not(room.steps[-1], fleet.scratch.mask)
    np.copyto(score, OUT, where=refused)
    evidence = Evidence(
        question=question,
        hosts=fleet.records,
        before_room=before.steps,
        room=room.steps.copy(),
        free=fleet.free.copy(),
        score=score,
        holding=holding(fleet, demand),
    )
    if room.left:
        chosen, outcome, change = _first(evidence), Outcome.PLACED, None
    else:
        chosen, (outcome, change) = None, outlook(fleet, question)
    return Choice(
        outcome=outcome,
        policy=policy,
        demand=demand,
        chosen=chosen,
        refusals=room.refusals,
        smallest_change=change,
        evidence=evidence,
    )


def _first(evidence: Evidence) -> Scored:
    row = int(evidence.score.argmax())
    return evidence.scored(row, float(evidence.score[row]))
