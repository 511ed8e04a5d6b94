"""After each look at a host: which of its sandboxes have work, and what is there without a record.

It judges by the same rules as the converger and orders nothing itself; a sandbox that needs a step
is nudged, and its worker judges again from what is true by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from scheduler.clock import Clock
from scheduler.control.converger import RESTING
from scheduler.control.listings import Listings
from scheduler.control.looks import Look
from scheduler.lifecycle.drift import judge, sight
from scheduler.lifecycle.steps import Limits, Settled, Wait
from scheduler.model import HostHealth, Sandbox


class Reconciler:
    """Compares what is recorded of a host's sandboxes with the latest listings."""

    def __init__(
        self, clock: Clock, listings: Listings, *, limits: Limits, nudge: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._listings = listings
        self._limits = limits
        self._nudge = nudge
        self._turn = asyncio.Lock()

    async def reconcile(self, look: Look) -> None:
        """Nudge every sandbox of the host that is not as it should be.

        One host at a time: a whole fleet's looks may be written by one commit.
        """
        async with self._turn:
            for sandbox in look.records.sandboxes:
                if sandbox.live and self._has_work(sandbox, look):
                    self._nudge(sandbox.id)
            # Whoever waits for the event loop comes before the next host.
            await self._clock.wait(asyncio.Event(), 0)

    def _has_work(self, sandbox: Sandbox, look: Look) -> bool:
        down = look.host.health is HostHealth.DOWN
        if not down and (sandbox.desired_state, sandbox.state) not in RESTING:
            return True
        seen = sight(
            sandbox,
            self._listings.latest(look.host.id),
            self._listings.previous(look.host.id),
            mutated_at=self._listings.mutated_at(sandbox.id),
            unreachable=look.host.health_reason if down else None,
        )
        step = judge(
            sandbox,
            seen,
            now=self._clock.now(),
            limits=self._limits,
            pool_free_mb=look.host.observed_storage_available_mb,
            snapshot=look.records.under_way.get(sandbox.id),
        )
        return not isinstance(step, Settled | Wait)
