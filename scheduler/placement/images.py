"""Images that the control node keeps: who holds one, and who would have room for a copy.

Any host can be given a copy, so an image refuses nobody but for want of room in the pool; what a
copy costs is a matter of score (see `policy`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scheduler.placement.column import BoolColumn, FloatColumn, IntColumn
from scheduler.placement.demand import Demand
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.fleet import NEVER, Fleet
from scheduler.placement.policy import Policy

_STORAGE = 2
COPYING: Mapping[Policy, float] = {
    Policy.SPREAD: 0.25,
    Policy.BALANCED: 0.25,
    Policy.PACK: 0.05,
}
"""What a copy costs, in each policy's own measure: a quarter of a host's room, or about what it
costs to open three empty ones. So who holds the image is preferred until it is much fuller."""


def holding(fleet: Fleet, demand: Demand) -> BoolColumn | None:
    """Return a copy of who holds the image; None when the control node does not keep it."""
    return None if demand.image_digest is None else fleet.holding(demand.image_digest).copy()


def less_for_copies(
    score: FloatColumn, policy: Policy, fleet: Fleet, demand: Demand
) -> FloatColumn:
    """Take off the scores of the hosts that the image would have to be copied to first."""
    if demand.image_digest is not None:
        lacking = np.logical_not(fleet.holding(demand.image_digest), fleet.scratch.mask)
        np.subtract(score, COPYING[policy], score, where=lacking)
    return score


class ImageRoom(Filter):
    """A host that lacks the image has room in its pool for a copy beside the sandbox's disk."""

    name = "image_room"

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who holds the image or has room for it."""
        digest = question.demand.image_digest
        if digest is None:
            return None
        mask = fleet.scratch.mask
        np.greater_equal(fleet.amounts[_STORAGE], _wanted(question), mask)
        return np.logical_or(mask, fleet.holding(digest), mask)

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who would have room were it empty, or never said how much it has."""
        digest = question.demand.image_digest
        if digest is None:
            return None
        enough: BoolColumn = fleet.limit[_STORAGE] >= _wanted(question)
        unknown: BoolColumn = fleet.seen == NEVER
        return enough | unknown | fleet.holding(digest)

    def most(self, fleet: Fleet, question: Question) -> IntColumn | None:
        """Return how many disks have room beside one copy, where there is none yet."""
        digest, disk = question.demand.image_digest, question.demand.resources.storage_mb
        if digest is None or disk == 0:
            return None
        free = fleet.amounts[_STORAGE] - question.demand.image_mb * ~fleet.holding(digest)
        return np.maximum(free, 0) // disk

    def need(self, question: Question) -> object:
        """Return the MiB that disk and copy take together."""
        return None if question.demand.image_digest is None else _wanted(question)

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return how much storage every host has free."""
        return list(fleet.free[_STORAGE].tolist())

    def lacking(self, case: Case, question: Question) -> object:
        """Return how much storage the refused host has free."""
        return case.free[_STORAGE]

    def reason(self, case: Case, question: Question) -> str:
        """Return what is free and what disk and copy take."""
        free = max(0, case.free[_STORAGE])
        return f"storage {free} MiB free < {_wanted(question)} MiB for disk and copy of the image"

    def change(self, case: Case, question: Question) -> str:
        """Return what to make room for."""
        return f"free {question.demand.image_mb} MiB of storage on {case.host.name} for the image"


def _wanted(question: Question) -> int:
    return question.demand.resources.storage_mb + question.demand.image_mb
