"""A step of the wall clock is told within a boot, and only there (I10)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle.clock_steps import TOLERANCE_SECONDS, moved_pause, pausing, step_of
from tests.lifecycle.samples import NOW


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


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("until", "now", "lasts"),
    [(None, 0, False), (4, 0, True), (4, 3.9, True), (4, 4, False), (4, -0.1, False)],
)
def test_a_pause_lasts_from_its_beginning_to_its_end(
    until: float | None, now: float, lasts: bool
) -> None:
    end = None if until is None else later(until)
    assert pausing(end, NOW, later(now)) is lasts


@given(st.integers(0, 3600), st.integers(0, 3600), st.integers(-(10**6), 10**6), st.booleans())
def test_a_pause_is_never_longer_for_a_step(
    whole: int, passed: int, step: int, written_after: bool
) -> None:
    """Whichever clock it was written down by."""
    since = later(step if written_after else 0)
    now = later(passed + step)
    moved = moved_pause(since + timedelta(seconds=whole), since, timedelta(seconds=step), now)
    left = (moved - now).total_seconds()
    assert left <= whole
    if not written_after:
        assert left == whole - passed
