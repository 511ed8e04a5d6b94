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
        self.passed = np.zeros((MOST_FILTERS, length), np.bool_)
        """Row f: the hosts left after filter f of a pass."""
        self.steps = tuple(self.passed)
        self.mask = np.zeros(length, np.bool_)
        self.wanted = np.zeros((3, 1))
        self.left = np.zeros((3, length))
        """Shares of each resource that would be left free."""
        self.apart = np.zeros((3, length))
        self.work = np.zeros(length)
