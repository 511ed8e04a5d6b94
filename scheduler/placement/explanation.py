"""Every host against every constraint, for those who ask why before or after they ask for more.

It is laid out by constraint, as the filters see the fleet, so that thousands of hosts cost
milliseconds; a host's `have` stands in the order of `constraints`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from scheduler.placement.choice import STALE_AFTER_SECONDS, Choice, choose
from scheduler.placement.demand import Demand
from scheduler.placement.filters import FILTERS, verdicts
from scheduler.placement.fleet import Fleet
from scheduler.placement.images import less_for_copies
from scheduler.placement.policy import Policy, scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One constraint of the demand and what it needs."""

    filter: str
    need: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One host: what it has of every constraint asked, and which of them refuse it."""

    host_id: str
    host_name: str
    score: float | None
    """None for a host that is refused."""
    have: tuple[object, ...]
    refused: tuple[str, ...]
    message: str | None
    """The first refusal in words."""

    @property
    def eligible(self) -> bool:
        """Return whether the host would do."""
        return not self.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with everything that speaks for and against every host, in order of name."""

    choice: Choice
    constraints: tuple[Asked, ...]
    hosts: tuple[Weighed, ...]


def explain(
    demand: Demand,
    fleet: Fleet,
    policy: Policy,
    *,
    now: datetime,
    stale_after_seconds: float = STALE_AFTER_SECONDS,
) -> Explanation:
    """Weigh every host of `fleet` against every constraint of `demand`; changes nothing."""
    choice = choose(demand, fleet, policy, now=now, stale_after_seconds=stale_after_seconds)
    question = choice.evidence.question
    asked = [each for each in FILTERS if each.passing(fleet, question) is not None]
    weighed = scores(policy, fleet, demand.resources)
    score = less_for_copies(weighed, policy, fleet, demand).tolist()
    refused, messages = _refused(fleet, choice), choice.evidence.messages()
    have = zip(*(each.have(fleet, question) for each in asked), strict=True)
    return Explanation(
        choice=choice,
        constraints=tuple(Asked(filter=each.name, need=each.need(question)) for each in asked),
        hosts=tuple(
            Weighed(
                host_id=host.id,
                host_name=host.name,
                score=None if row in refused else score[row],
                have=held,
                refused=refused.get(row, ()),
                message=messages.get(row),
            )
            for row, (host, held) in enumerate(zip(fleet.records, have, strict=True))
        ),
    )


def _refused(fleet: Fleet, choice: Choice) -> dict[int, tuple[str, ...]]:
    """Return, by refused host's row, the names of the filters that refuse it, in their order."""
    refused: dict[int, tuple[str, ...]] = {}
    hosts, filters = np.nonzero(~verdicts(fleet, choice.evidence.question).T)
    for host, each in zip(hosts.tolist(), filters.tolist(), strict=True):
        refused[host] = (*refused.get(host, ()), FILTERS[each].name)
    return refused
