"""A clock that is suddenly far ahead is believed only once it has stayed so for a day."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle.clock_trust import (
    DOUBTED_FOR,
    FAR,
    FAR_ACROSS_BOOTS,
    ClockTrust,
    Reading,
    ahead,
    judged,
)
from tests.lifecycle.samples import NOW

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
FIRST = ClockTrust(believed=Reading(at=NOW, boot_id="one", boot_seconds=1000.0))


def read(passed: float, *, wrong_by: float = 0.0, boot: str = "one") -> Reading:
    """Read the clocks when so much has passed, of a wall clock that is so wrong."""
    at = NOW + timedelta(seconds=passed + wrong_by)
    return Reading(at=at, boot_id=boot, boot_seconds=1000.0 + passed if boot == "one" else passed)


def test_the_first_reading_is_believed() -> None:
    assert judged(None, FIRST.believed) == FIRST
    assert FIRST.until is None
    assert ahead(FIRST) == timedelta()


@pytest.mark.parametrize("wrong_by", [0.0, HOUR, -HOUR, -3 * YEAR])
@pytest.mark.parametrize("passed", [1.0, DAY, YEAR])
def test_what_passes_is_believed_and_so_is_a_clock_that_goes_back(
    passed: float, wrong_by: float
) -> None:
    now = read(passed, wrong_by=wrong_by)
    assert judged(FIRST, now) == ClockTrust(believed=now)


def test_a_clock_that_jumps_ahead_is_doubted_for_a_day() -> None:
    jumped = read(60, wrong_by=3 * YEAR)
    doubt = judged(FIRST, jumped)
    assert doubt == ClockTrust(believed=FIRST.believed, doubted=jumped)
    assert doubt.until == jumped.at + DOUBTED_FOR
    assert ahead(doubt) == timedelta(seconds=3 * YEAR)
    assert judged(doubt, read(60 + DAY - 1, wrong_by=3 * YEAR)) == doubt
    at_last = read(60 + DAY, wrong_by=3 * YEAR)
    assert judged(doubt, at_last) == ClockTrust(believed=at_last)


def test_a_clock_that_is_set_right_meanwhile_was_never_believed() -> None:
    doubt = judged(FIRST, read(60, wrong_by=3 * YEAR))
    right = read(7200)
    assert judged(doubt, right) == ClockTrust(believed=right)


@pytest.mark.parametrize("then", [YEAR, 5 * YEAR])
def test_another_wrong_time_is_doubted_anew(then: float) -> None:
    doubt = judged(FIRST, read(60, wrong_by=3 * YEAR))
    other = read(120, wrong_by=then)
    assert judged(doubt, other) == ClockTrust(believed=FIRST.believed, doubted=other)


def test_across_a_reboot_nobody_knows_what_passed() -> None:
    overnight = read(DAY, boot="two")
    assert judged(FIRST, overnight) == ClockTrust(believed=overnight)
    doubt = judged(FIRST, read(3 * DAY, boot="two"))
    assert doubt.until == NOW + timedelta(days=4)
    assert ahead(doubt) == timedelta(days=3)
    again = read(4 * DAY, boot="three")
    assert judged(doubt, again) == ClockTrust(believed=again)


@given(st.floats(0, 10 * DAY), st.floats(-YEAR, YEAR), st.sampled_from(["one", "two"]))
def test_nobody_is_believed_at_once_who_is_more_than_a_day_ahead(
    passed: float, wrong_by: float, boot: str
) -> None:
    now = read(passed, wrong_by=wrong_by, boot=boot)
    allowed = timedelta(seconds=passed) + FAR if boot == "one" else FAR_ACROSS_BOOTS
    assert (judged(FIRST, now).until is None) == (now.at - NOW <= allowed)
