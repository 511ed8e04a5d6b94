"""Sandboxes whose guests have no address yet: the fewer they are, the sooner each is looked for.

Nobody tells us of a lease. To ask a host costs it and us several calls, so that all who wait share
a rate; one that waits alone is not kept waiting for the sake of a thousand that are not there.
"""

from __future__ import annotations

SOONEST_SECONDS = 0.2
LATEST_SECONDS = 1.0
EACH_SECONDS = 0.02
"""So much later for each that waits: all of them together ask fifty times a second."""


class Seekers:
    """Who waits for an address, and for how long until it is asked for again."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()

    def pause(self, sandbox_id: str) -> float:
        """Count one that found no address; return in how many seconds to ask again."""
        self._waiting.add(sandbox_id)
        return min(LATEST_SECONDS, max(SOONEST_SECONDS, EACH_SECONDS * len(self._waiting)))

    def leave(self, sandbox_id: str) -> None:
        """Count one no more: it has its address, or something else to do."""
        self._waiting.discard(sandbox_id)
