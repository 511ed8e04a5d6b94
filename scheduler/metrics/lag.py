"""How late the event loop wakes: what every request and every loop of this process pays."""

from __future__ import annotations

import asyncio

from scheduler.clock import Clock
from scheduler.metrics.meter import Meter

SLEEP_SECONDS = 0.1


class LagProbe:
    """Measures by a short sleep; `measure` is the pass of a loop."""

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self.latest_seconds = 0.0
        """How late the last measured wake-up was."""

    async def measure(self) -> None:
        """Sleep once and record by how much the wake-up was late."""
        begun = self._clock.monotonic()
        await self._clock.wait(asyncio.Event(), SLEEP_SECONDS)
        late = self._clock.monotonic() - begun - SLEEP_SECONDS
        self.latest_seconds = max(0.0, late)
        self._meter.lagged(self.latest_seconds)
