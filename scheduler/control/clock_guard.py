"""Watches for steps of the wall clock, so that no lease ends early (I10).

Within one boot, wall time minus boot time moves only when somebody sets the clock. A step shifts
every lease by as much, in one transaction; across a reboot the wall clock is trusted.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from scheduler.clock import Clock
from scheduler.lifecycle.clock_steps import step_of
from scheduler.model import Event
from scheduler.store import Store, Transaction

OFFSET_SETTING = "clock.offset"
BOOT_SETTING = "clock.boot_id"

_log = structlog.get_logger("scheduler.control")


class ClockGuard:
    """Compares the wall clock with the boot clock, once a second and once at start."""

    def __init__(self, store: Store, clock: Clock, boot_id: str) -> None:
        self._store = store
        self._clock = clock
        self._boot_id = boot_id
        self._kept: float | None = None

    async def watch(self) -> None:
        """Shift the leases if the wall clock was set since the offset was last written down."""
        offset = self._clock.now().timestamp() - self._clock.boottime()
        if self._kept is None:
            self._kept = await self._store.read(self._stored)
        if self._kept is None:
            await self._keep(offset, None)
            return
        step = step_of(self._kept, offset, same_boot=True)
        if step is not None:
            _log.warning("clock stepped", seconds=step.total_seconds())
            await self._keep(offset, step)

    def _stored(self, tx: Transaction) -> float | None:
        """Return the offset written down during this boot, if there is one."""
        if tx.settings.get(BOOT_SETTING) != self._boot_id:
            return None
        text = tx.settings.get(OFFSET_SETTING)
        return None if text is None else float(text)

    async def _keep(self, offset: float, step: timedelta | None) -> None:
        now = self._clock.now()

        def keep(tx: Transaction) -> None:
            tx.settings.put(OFFSET_SETTING, repr(offset))
            tx.settings.put(BOOT_SETTING, self._boot_id)
            if step is None:
                return
            shifted = tx.sandboxes.shift_expiries(step)
            seconds = step.total_seconds()
            tx.events.add(
                Event(
                    at=now,
                    kind="clock.stepped",
                    reason_code="clock_stepped",
                    message=f"the wall clock was set by {seconds:+.1f} s; {shifted} leases follow",
                    evidence={"seconds": seconds, "leases": shifted},
                )
            )

        await self._store.submit(keep)
        self._kept = offset
