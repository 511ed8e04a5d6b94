"""How long things took, counted by size: cheap enough to be kept where the things happen.

A room that may not know who counts keeps one of these, and who tells of it reads it when asked.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field


@dataclass(slots=True)
class Durations:
    """Counts by upper bounds in seconds, the last one without; one thread adds, any may read."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    """How many were no longer than each bound and longer than the one before it."""
    sum_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_seconds += seconds
