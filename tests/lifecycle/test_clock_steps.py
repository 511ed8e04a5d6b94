"""A step of the wall clock is told within a boot, and only there (I10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle.clock_steps import TOLERANCE_SECONDS, step_of


@pytest.mark.parametrize(
    ("stored", "current", "same_boot", "expected"),
    [
        (1000.0, 1000.0, True, None),
        (1000.0, 1000.5, True, None),
        (1000.0, 1000.75, True, timedelta(seconds=0.75)),
        (1000.0, 4600.0, True, timedelta(hours=1)),
        (4600.0, 1000.0, True, timedelta(hours=-1)),
        (1000.0, 4600.0, False, None),
    ],
)
def test_steps(stored: float, current: float, same_boot: bool, expected: timedelta | None) -> None:
    assert step_of(stored, current, same_boot) == expected


def test_the_tolerance_can_be_set() -> None:
    assert step_of(0, 2, True, tolerance=3) is None


@given(st.floats(-1e9, 1e9), st.floats(-1e6, 1e6))
def test_shifting_by_the_step_makes_up_for_it(offset: float, moved: float) -> None:
    step = step_of(offset, offset + moved, True)
    left = moved - (step.total_seconds() if step else 0)
    assert abs(left) <= TOLERANCE_SECONDS + 1e-5
