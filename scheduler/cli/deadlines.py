"""How long a command is willing to watch; the work itself goes on."""

from __future__ import annotations

import time


class Deadline:
    """A point on the monotonic clock, or none."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Return whether patience has ended."""
        return self._at is not None and time.monotonic() >= self._at

    def within(self, seconds: float) -> float:
        """Return the given time, cut to what is left; never so small that it means for ever."""
        if self._at is None:
            return seconds
        return max(0.01, min(seconds, self._at - time.monotonic()))
