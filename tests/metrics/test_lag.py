"""The lag is what a wake-up is late, and never less than nothing."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.metrics.lag import SLEEP_SECONDS, LagProbe
from scheduler.metrics.meter import Meter
from tests.clocks import ManualClock
from tests.metrics.reading import key, values


@pytest.mark.parametrize(("late", "expected"), [(0.3, 0.3), (0.0, 0.0)])
async def test_a_late_wake_up_is_recorded(late: float, expected: float) -> None:
    clock = ManualClock()
    meter = Meter(clock)
    probe = LagProbe(meter, clock)
    measuring = asyncio.create_task(probe.measure())
    await asyncio.sleep(0)
    clock.advance(SLEEP_SECONDS + late)
    await measuring
    lag = values(meter.registry.collect())[key("event_loop_lag_seconds")]
    assert lag == pytest.approx(expected, abs=1e-6)
    assert probe.latest_seconds == lag
