"""What was last seen on each host, and when we last changed something there.

Kept in memory on purpose: after a restart nothing is believed until it has been seen again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from scheduler.clock import Clock
from scheduler.model import Inventory


class Listings:
    """The two latest complete listings of each host, and each sandbox's last mutation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, Inventory] = {}
        self._previous: dict[str, Inventory] = {}
        self._mutated: dict[str, float] = {}

    def put(self, inventory: Inventory) -> None:
        """Keep a complete listing; the one before it stays as the second witness."""
        before = self._latest.get(inventory.host_id)
        if before is not None:
            self._previous[inventory.host_id] = before
        self._latest[inventory.host_id] = inventory

    def latest(self, host_id: str) -> Inventory | None:
        """Return the newest complete listing of a host."""
        return self._latest.get(host_id)

    def previous(self, host_id: str) -> Inventory | None:
        """Return the listing before the newest."""
        return self._previous.get(host_id)

    def lost(self, host_id: str) -> None:
        """Forget a host's listings: it was unreachable in between, or it is gone."""
        self._latest.pop(host_id, None)
        self._previous.pop(host_id, None)

    @contextmanager
    def mutating(self, sandbox_id: str) -> Iterator[None]:
        """Say that a host call for this sandbox is in flight: no listing counts until it ended."""
        self._mutated[sandbox_id] = inf
        try:
            yield
        finally:
            if sandbox_id in self._mutated:  # not forgotten meanwhile, with the sandbox
                self._mutated[sandbox_id] = self._clock.monotonic()

    def mutated_at(self, sandbox_id: str) -> float | None:
        """Return the monotonic time of the last mutation, infinite while one is in flight."""
        return self._mutated.get(sandbox_id)

    def forget(self, sandbox_id: str) -> None:
        """Drop what was kept of a sandbox that is no more."""
        self._mutated.pop(sandbox_id, None)

    def __len__(self) -> int:
        """Return of how many sandboxes the last mutation is kept."""
        return len(self._mutated)
