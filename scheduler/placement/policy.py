"""Policies: which of the hosts with room is best. A score for every host, the greatest wins.

All of them look at what would be left free of each resource, as a share of the host's limit. Why
`pack` scores as it does is measured by benchmarks/packing.py and told in docs/decisions.
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
    """Return a fresh score for every host, with room or not."""
    share, left = fleet.scratch.wanted, fleet.scratch.left
    share[:, 0] = (wanted.vcpus, wanted.memory_mb, wanted.storage_mb)
    np.multiply(fleet.inverse, share, left)
    np.subtract(fleet.share, left, left)
    return _SCORES[policy](fleet)


def _balanced(fleet: Fleet) -> FloatColumn:
    least, most = _least(fleet), fleet.scratch.work
    np.maximum.reduce(fleet.scratch.left, axis=0, out=most)
    np.subtract(most, least, most)
    np.subtract(least, most, least)
    return least


def _least(fleet: Fleet) -> FloatColumn:
    least: FloatColumn = np.minimum.reduce(fleet.scratch.left, axis=0)
    return least


def _pack(fleet: Fleet) -> FloatColumn:
    """Return how even the leftovers are: what is free of one resource alone cannot be used.

    A host with nothing on it is opened only when that keeps the leftovers clearly more even.
    """
    left, apart = fleet.scratch.left, fleet.scratch.apart
    for row in range(3):
        np.subtract(left[row], left[row - 1], apart[row])
    np.multiply(apart, apart, apart)
    uneven: FloatColumn = np.add.reduce(apart, axis=0)
    empty = np.equal(fleet.free[3], fleet.limit[3], fleet.scratch.mask)
    np.add(uneven, _OPENING, uneven, where=empty)
    np.negative(uneven, uneven)
    return uneven


_OPENING = 0.018
"""What it costs to put the first sandbox on a host: a variance of the leftovers of 0.002."""

_SCORES: Mapping[Policy, Callable[[Fleet], FloatColumn]] = {
    Policy.SPREAD: _least,
    Policy.PACK: _pack,
    Policy.BALANCED: _balanced,
}
