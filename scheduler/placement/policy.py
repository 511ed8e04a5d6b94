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
    """Return a fresh score for every host, with room or not."""
    share, left = fleet.scratch.wanted, fleet.scratch.left
    share[:, 0] = (wanted.vcpus, wanted.memory_mb, wanted.storage_mb)
    np.multiply(fleet.inverse, share, left)
    np.subtract(fleet.share, left, left)
    return _SCORES[policy](fleet)


def _spread(fleet: Fleet) -> FloatColumn:
    return _least(fleet)


def _balanced(fleet: Fleet) -> FloatColumn:
    least, most = _least(fleet), fleet.scratch.work
    np.maximum.reduce(fleet.scratch.left, axis=0, out=most)
    np.subtract(most, least, most)
    np.subtract(least, most, least)
    return least


def _least(fleet: Fleet) -> FloatColumn:
    least: FloatColumn = np.minimum.reduce(fleet.scratch.left, axis=0)
    return least


_SCORES: Mapping[Policy, Callable[[Fleet], FloatColumn]] = {
    Policy.SPREAD: _spread,
    Policy.PACK: _spread,
    Policy.BALANCED: _balanced,
}
