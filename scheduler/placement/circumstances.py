"""Filters on how a host stands to one request: pinned, seen lately, able, untried, alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.model import HostResources
from scheduler.placement.column import BoolColumn, IntColumn
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.fleet import Fleet


class Pin(Filter):
    """The caller named one host."""

    name = "pin"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return the one host of that name."""
        name = question.demand.host
        if name is None:
            return None
        mask, row = fleet.scratch.mask, fleet.row_named(name)
        mask[:] = False
        if row is not None:
            mask[row] = True
        return mask

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return the same: a host does not change its name."""
        return self.passing(fleet, question)

    def need(self, question: Question) -> object:
        """Return the name asked for."""
        return question.demand.host

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return every host's name."""
        return [host.name for host in fleet.records]

    def lacking(self, case: Case, question: Question) -> object:
        """Return the refused host's name."""
        return case.host.name

    def reason(self, case: Case, question: Question) -> str:
        """Return which host was asked for instead."""
        return f"not {question.demand.host}, which the request is pinned to"

    def change(self, case: Case, question: Question) -> str:
        """Return which pin to drop."""
        return f"drop the pin to {question.demand.host}"


class Breakers(Filter):
    """Builds kept failing on the host, so that for a while it takes none of this kind."""

    name = "breaker"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return every host but those that keep builds of the image out now."""
        barring = fleet.barring()
        if not barring:
            return None
        mask = fleet.scratch.mask
        mask[:] = True
        for row, host in barring:
            mask[row] = host.barred(question.demand.image, question.now) is None
        return mask

    def need(self, question: Question) -> object:
        """Return the image whose builds are to be taken."""
        return question.demand.image

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return until when every host keeps it out; None where it does not."""
        until: list[object] = [None] * len(fleet)
        for row, host in fleet.barring():
            until[row] = _kept_out_until(host, question)
        return until

    def lacking(self, case: Case, question: Question) -> object:
        """Return until when the refused host keeps it out."""
        return _kept_out_until(case.host, question)

    def reason(self, case: Case, question: Question) -> str:
        """Return what kept failing there."""
        image = question.demand.image
        breaker = next(one for one in case.host.breakers if one.bars(image, question.now))
        what = "builds" if breaker.image is None else f"builds of {breaker.image}"
        return f"too many {what} failed there: {breaker.reason}"

    def change(self, case: Case, question: Question) -> str:
        """Return how long to wait."""
        return f"wait until {case.host.name} is tried again"


def _kept_out_until(host: HostResources, question: Question) -> str | None:
    breaker = host.barred(question.demand.image, question.now)
    return None if breaker is None else breaker.retry_at.isoformat()


class Tried(Filter):
    """A host that failed a sandbox is not asked to bring up the same one again."""

    name = "tried"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return every host but those."""
        tried = question.demand.tried
        if not tried:
            return None
        mask = fleet.scratch.mask
        mask[:] = True
        for name in tried:
            row = fleet.row_named(name)
            if row is not None:
                mask[row] = False
        return mask

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return the same: what was tried stays so."""
        return self.passing(fleet, question)

    def need(self, question: Question) -> object:
        """Return the names that are out, None when there are none."""
        return sorted(question.demand.tried) or None

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return every host's name."""
        return [host.name for host in fleet.records]

    def lacking(self, case: Case, question: Question) -> object:
        """Return the refused host's name."""
        return case.host.name

    def reason(self, case: Case, question: Question) -> str:
        """Return that this sandbox was there before."""
        return "this sandbox stands there, or could not be brought up"


class Freshness(Filter):
    """What is known of the host is recent enough to be believed."""

    name = "freshness"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who was observed lately."""
        oldest = question.now.timestamp() - question.stale_after_seconds
        mask = fleet.scratch.mask
        np.greater_equal(fleet.seen, oldest, mask)
        return mask

    def need(self, question: Question) -> object:
        """Return the greatest age in seconds."""
        return question.stale_after_seconds

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return the age of every host's facts in seconds; None for a host never observed."""
        ages = np.round(question.now.timestamp() - fleet.seen, 1).tolist()
        return [None if age == float("inf") else age for age in ages]

    def lacking(self, case: Case, question: Question) -> object:
        """Return the age of the refused host's facts in seconds; None if never observed."""
        return _age(case, question)

    def reason(self, case: Case, question: Question) -> str:
        """Return how long ago the host was seen."""
        age = _age(case, question)
        if age is None:
            return "not observed yet"
        return f"last observed {age:.0f} s ago, more than {question.stale_after_seconds:.0f} s"

    def change(self, case: Case, question: Question) -> str:
        """Return what to wait for."""
        return f"wait for a poll of {case.host.name}"


def _age(case: Case, question: Question) -> float | None:
    at = case.host.observed_at
    return None if at is None else round(question.now.timestamp() - at.timestamp(), 1)


class AntiAffinity(Filter):
    """At most one sandbox of a group stands on a host."""

    name = "anti_affinity"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who holds none of the group."""
        group = question.demand.anti_affinity_group
        return None if group is None else fleet.without(group)

    def most(self, fleet: Fleet, question: Question) -> IntColumn | None:
        """Return one for who holds none, for one of a group keeps all others out."""
        group = question.demand.anti_affinity_group
        return None if group is None else fleet.without(group).astype(np.int64)

    def need(self, question: Question) -> object:
        """Return the group of which none may be there."""
        return question.demand.anti_affinity_group

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return the group for every host that holds one of it, else None."""
        group = question.demand.anti_affinity_group or ""
        return [None if without else group for without in fleet.without(group).tolist()]

    def lacking(self, case: Case, question: Question) -> object:
        """Return the group, which the refused host holds."""
        return question.demand.anti_affinity_group

    def reason(self, case: Case, question: Question) -> str:
        """Return which group is there already."""
        return f"holds a sandbox of group {question.demand.anti_affinity_group} already"

    def change(self, case: Case, question: Question) -> str:
        """Return whose end to wait for."""
        group = question.demand.anti_affinity_group
        return f"end the sandbox of group {group} on {case.host.name}"
