"""A clock that is suddenly far ahead is believed only once it has stayed so for a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle.clock_trust import (
    BASE_FOR,
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
@pytest.mark.parametrize("passed", [1.0, DAY - 1, DAY, YEAR])
def test_what_passes_is_believed_and_so_is_a_clock_that_goes_back(
    passed: float, wrong_by: float
) -> None:
    """Within a day others go on being compared to the first, unless the clock went back."""
    now = read(passed, wrong_by=wrong_by)
    base = FIRST.believed if passed < DAY and wrong_by >= 0 else None
    assert judged(FIRST, now) == ClockTrust(believed=now, base=base)


def test_a_clock_that_jumps_ahead_is_doubted_for_a_day() -> None:
    jumped = read(60, wrong_by=3 * YEAR)
    doubt = judged(FIRST, jumped)
    assert doubt == ClockTrust(believed=FIRST.believed, doubted=jumped, latest=jumped)
    assert doubt.until == jumped.at + DOUBTED_FOR
    assert ahead(doubt) == timedelta(seconds=3 * YEAR)
    nearly = read(60 + DAY - 1, wrong_by=3 * YEAR)
    assert judged(doubt, nearly) == replace(doubt, latest=nearly)
    at_last = read(60 + DAY, wrong_by=3 * YEAR)
    assert judged(doubt, at_last) == ClockTrust(believed=at_last)


def test_a_clock_that_is_set_right_meanwhile_was_never_believed() -> None:
    doubt = judged(FIRST, read(60, wrong_by=3 * YEAR))
    right = read(7200)
    assert judged(doubt, right) == ClockTrust(believed=right, base=FIRST.believed)


def test_what_a_clock_gains_adds_up_however_often_it_is_read() -> None:
    trust, often = FIRST, read(60, wrong_by=0.8 * HOUR)
    for minute in range(2):
        trust = judged(trust, read(60.0 * minute, wrong_by=0.8 * HOUR * minute))
    assert trust == ClockTrust(believed=often, base=FIRST.believed)
    third = read(120, wrong_by=1.6 * HOUR)
    doubt = judged(trust, third)
    assert doubt == replace(trust, doubted=third, latest=third)
    assert ahead(doubt) == timedelta(seconds=1.6 * HOUR)


def test_after_a_day_it_may_have_gained_as_much_again_and_no_more() -> None:
    trust = judged(judged(FIRST, read(HOUR, wrong_by=HOUR)), read(DAY, wrong_by=HOUR))
    assert trust == ClockTrust(believed=read(DAY, wrong_by=HOUR))
    assert judged(trust, read(DAY + 1, wrong_by=2 * HOUR)).until is None
    assert judged(trust, read(DAY + 1, wrong_by=2 * HOUR + 1)).until is not None


def test_what_a_doubted_clock_goes_on_gaining_is_not_waited_out() -> None:
    """Also not in a boot after the one in which the doubt began."""
    for boot in ("one", "two"):
        trust = judged(FIRST, read(60, wrong_by=3 * YEAR))
        for minute in range(2, 2000):
            wrong_by = 3 * YEAR + 0.8 * HOUR * minute
            trust = judged(trust, read(60.0 * minute, wrong_by=wrong_by, boot=boot))
            assert trust.until is not None
            assert trust.base is None
            assert trust.believed == FIRST.believed


SWEEPS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 60.0, HOUR, DAY / 2, DAY]) | st.floats(0, 2 * DAY),
        st.sampled_from([0.0, 0.8 * HOUR, HOUR, -HOUR, 0.4 * HOUR]) | st.floats(-DAY, HOUR),
    ),
    max_size=60,
)
"""How long after the one before, and by how much the clock was set in between."""


@given(SWEEPS, st.integers(1, 5))
def test_it_gains_an_hour_a_day_at_most_before_it_is_doubted(
    sweeps: list[tuple[float, float]], each: int
) -> None:
    trust, passed, wrong_by = FIRST, 0.0, 0.0
    for seconds, gained in sweeps:
        for _ in range(each):
            passed += seconds
            wrong_by += gained
            trust = judged(trust, read(passed, wrong_by=wrong_by))
            if trust.until is not None:
                return
            assert wrong_by <= FAR.total_seconds() * (passed // BASE_FOR.total_seconds() + 1) + 1


@pytest.mark.parametrize("then", [YEAR, 5 * YEAR])
def test_another_wrong_time_is_doubted_anew(then: float) -> None:
    doubt = judged(FIRST, read(60, wrong_by=3 * YEAR))
    other = read(120, wrong_by=then)
    assert judged(doubt, other) == ClockTrust(believed=FIRST.believed, doubted=other, latest=other)


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


def test_a_night_is_counted_from_the_last_reading_and_not_from_the_base() -> None:
    evening = judged(FIRST, read(0.9 * DAY))
    assert evening.base == FIRST.believed
    morning = read(1.8 * DAY, boot="two")
    assert judged(evening, morning) == ClockTrust(believed=morning)
    away = judged(evening, read(2 * DAY, boot="two"))
    assert away.until is not None
    assert ahead(away) == timedelta(days=1.1)


def test_a_machine_that_is_off_at_night_is_believed_on_the_day_after_a_weekend() -> None:
    """Each night is a boot; none of them lasts for a day."""
    trust, doubts = FIRST, 0
    for day in (3, 4, 5):
        for hour in range(9):
            now = Reading(
                at=NOW + timedelta(days=day, hours=hour, seconds=60 * day),
                boot_id=f"day {day}",
                boot_seconds=60.0 + hour * HOUR,
            )
            before, trust = trust, judged(trust, now)
            doubts += trust.doubted is not None and trust.doubted != before.doubted
    assert trust.believed == now
    assert trust.until is None
    assert doubts == 1


def test_another_long_outage_while_it_is_doubted_is_waited_out_anew() -> None:
    doubt = judged(judged(FIRST, read(3 * DAY, boot="two")), read(3.3 * DAY, boot="two"))
    other = read(4.5 * DAY, boot="three")
    assert judged(doubt, other) == ClockTrust(believed=FIRST.believed, doubted=other, latest=other)


BOOTS = st.lists(st.tuples(st.floats(0, DAY), st.floats(0, DAY - 1)), max_size=12)
"""For how many seconds a machine is on, and then off."""


@given(st.floats(2 * DAY, 5 * YEAR), BOOTS)
def test_however_often_it_boots_it_is_believed_after_a_day_and_no_sooner(
    wrong_by: float, boots: list[tuple[float, float]]
) -> None:
    trust = judged(FIRST, jumped := read(0, wrong_by=wrong_by))
    passed = 0.0
    for number, (on, off) in enumerate(boots):
        for seconds in (0.0, on):
            at = NOW + timedelta(seconds=passed + seconds + wrong_by)
            trust = judged(trust, Reading(at=at, boot_id=str(number), boot_seconds=seconds))
            assert (trust.until is None) == (at >= jumped.at + DOUBTED_FOR)
        passed += on + off
