"""Ends leases to the second: sleeps until the next one is due, then records that it is over.

The reaper only changes intent, in one guarded transaction a sandbox; converging does the rest, so
that a host that hangs delays nobody else's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle import expiry
from scheduler.model import Sandbox
from scheduler.store import Store, Transaction

BATCH = 500


class Reaper:
    """Turns leases that are over into wishes for the end."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        stopped_retention_seconds: int,
        wake: Callable[[str], None],
        count: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._retention = stopped_retention_seconds
        self._wake = wake
        self._count = count

    async def reap(self) -> float | None:
        """End every lease that is due; return the seconds until the next one is."""
        now = self._clock.now()
        due = await self._store.read(lambda tx: tx.sandboxes.due(now, BATCH))
        await asyncio.gather(*(self._end(sandbox.id) for sandbox in due))
        if due:
            return 0.0
        upcoming = await self._store.read(lambda tx: tx.sandboxes.next_expiry())
        if upcoming is None:
            return None
        return max(0.0, (upcoming - self._clock.now()).total_seconds())

    async def _end(self, sandbox_id: str) -> None:
        try:
            ended = await self._store.submit(partial(self._record_end, sandbox_id))
        except (Conflict, NotFound):
            return  # somebody else changed it first; the next pass judges it anew
        if ended is not None:
            self._count(ended.on_expire.value)
            self._wake(sandbox_id)

    def _record_end(self, sandbox_id: str, tx: Transaction) -> Sandbox | None:
        sandbox = tx.sandboxes.get(sandbox_id)
        now = self._clock.now()
        if not expiry.due(sandbox, now):
            return None
        ended = expiry.expire(sandbox, now, self._retention)
        return tx.sandboxes.transition(
            sandbox_id,
            sandbox.state,
            sandbox.state,
            at=now,
            reason_code="lease_expired",
            reason_message=f"the lease ended at {sandbox.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            desired_state=ended.desired_state,
            expires_at=ended.expires_at,
            conditions=ended.conditions,
            attempts=0,
            retry_at=None,
        )
