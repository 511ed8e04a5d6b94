"""Ends leases to the second: sleeps until the next one is due, then records that it is over.

The reaper only changes intent, in one guarded transaction a sandbox; converging does the rest, so
that a host that hangs delays nobody else's end. It counts in `lease_time`, so that a clock that was
just set forward ends no lease early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle import expiry
from scheduler.lifecycle.moving import wish_of
from scheduler.model import Ending, Sandbox
from scheduler.service.lease_time import lease_time
from scheduler.store import Store, Transaction

BATCH = 500
LONGEST_SLEEP_SECONDS = 60.0
"""Waiting does not count while the machine is suspended, leases do; so it is never long."""
_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leases:
    due: tuple[str, ...]
    next_in_seconds: float | None


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
        leases = await self._store.read(self._look)
        if leases.due:
            ended = await asyncio.gather(*map(self._end, leases.due))
            return 0.0 if any(ended) else _AGAIN_SECONDS
        if leases.next_in_seconds is None:
            return None
        return min(max(0.0, leases.next_in_seconds), LONGEST_SLEEP_SECONDS)

    def _look(self, tx: Transaction) -> _Leases:
        now = lease_time(tx, self._clock)
        upcoming = tx.sandboxes.next_expiry(now)
        return _Leases(
            due=tuple(sandbox.id for sandbox in tx.sandboxes.due(now, BATCH)),
            next_in_seconds=None if upcoming is None else (upcoming - now).total_seconds(),
        )

    async def _end(self, sandbox_id: str) -> bool:
        """Record the end of a lease that is over; return whether it was."""
        try:
            ended = await self._store.submit(partial(self._record_end, sandbox_id))
        except (Conflict, NotFound):
            return False  # somebody else changed it first; the next pass judges it anew
        if ended is None:
            return False
        self._count(ended.on_expire.value)
        self._wake(sandbox_id)
        return True

    def _record_end(self, sandbox_id: str, tx: Transaction) -> Sandbox | None:
        sandbox = tx.sandboxes.get(sandbox_id)
        now = lease_time(tx, self._clock)
        if not expiry.due(sandbox, now):
            return None
        ended = expiry.expire(sandbox, now, self._retention)
        return tx.sandboxes.transition(
            sandbox_id,
            sandbox.state,
            sandbox.state,
            at=now,
            reason_code=Ending.LEASE_EXPIRED,
            reason_message=f"the lease ended at {sandbox.expires_at:%Y-%m-%d %H:%M:%S} UTC",
            desired_state=ended.desired_state,
            expires_at=ended.expires_at,
            conditions=ended.conditions,
            attempts=0,
            retry_at=None,
            **wish_of(ended),
        )
