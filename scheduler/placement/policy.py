"""Policies: which of the hosts with room is best. A score for every host, the greatest wins.

All of them look at what would be left free of each resource, as a share of the host's limit. Why
`pack` scores as it does: docs/decisions and benchmarks/packing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np

from scheduler.model import Resources
from scheduler.placement.column import FloatColumn
from scheduler.placement.fleet import Fleet


class Policy(StrEnum):
    """What the operator prefers."""

    SPREAD = "spread"
    """The host that keeps most free of what it is shortest of: least contention."""
    PACK = "pack"
    """The host whose leftovers stay useful: most sandboxes before the first refusal."""
    BALANCED = "balanced"
    """Spread, but not where it would use one resource up and strand the others."""


def scores(policy: Policy, fleet: Fleet, wanted: Resources) -> FloatColumn:
    """Return a score for every host, with room or not, in `fleet.scratch.score`."""
    left = fleet.scratch.left
    share = np.array(((wanted.vcpus,), (wanted.memory_mb,), (wanted.storage_mb,)), np.float64)
    np.multiply(fleet.inverse, share, left)
    np.subtract(fleet.share, left, left)
    return _SCORES[policy](fleet)


def _spread(fleet: Fleet) -> FloatColumn:
    scratch = fleet.scratch
    np.minimum.reduce(scratch.left, axis=0, out=scratch.score)
    return scratch.score


def _balanced(fleet: Fleet) -> FloatColumn:
    left, score, most = fleet.scratch.left, fleet.scratch.score, fleet.scratch.work
    np.minimum.reduce(left, axis=0, out=score)
    np.maximum.reduce(left, axis=0, out=most)
    np.add(score, score, score)
    np.subtract(score, most, score)
    return score


_SCORES: Mapping[Policy, Callable[[Fleet], FloatColumn]] = {
    Policy.SPREAD: _spread,
    Policy.PACK: _spread,
    Policy.BALANCED: _balanced,
}
