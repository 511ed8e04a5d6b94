"""Buffers that a decision writes into, made once for a fleet's size and used by every decision."""

from __future__ import annotations

import numpy as np

MOST_FILTERS = 16


class Scratch:
    """Buffers for a fleet of `length` hosts.

    Their content means nothing between two decisions, and what outlives a decision is copied.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.everyone = np.ones(length, np.bool_)
        """All true, and never written to."""
        self.everyone.flags.writeable = False
        self.passing = np.zeros((MOST_FILTERS, length), np.bool_)
        """Row f: the hosts that filters 0 to f let through."""
        self.steps = tuple(self.passing)
        self.mask = np.zeros(length, np.bool_)
        self.left = np.zeros((3, length))
        """Shares of each resource that would be left free."""
        self.score = np.zeros(length)
        self.work = np.zeros(length)
