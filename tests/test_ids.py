"""Ids sort by age within a process, whatever its clock does and however many draw at once."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler import ids
from scheduler.ids import Prefix, Ulids, new_id, new_serial

MILLISECOND_NS = 1_000_000
TIMES_NS = st.lists(st.integers(0, 2**62), min_size=2, max_size=50)


def at(number: int) -> int:
    """Return the millisecond that a number tells."""
    return number >> 80


@given(times_ns=TIMES_NS)
def test_each_is_above_the_one_before_whatever_the_clock_says(times_ns: list[int]) -> None:
    passing = iter(times_ns)
    drawing = Ulids(lambda: next(passing))
    drawn = [drawing.draw() for _ in times_ns]
    assert all(earlier < later for earlier, later in pairwise(drawn))


@given(times_ns=TIMES_NS)
def test_each_tells_the_latest_time_that_was_seen(times_ns: list[int]) -> None:
    passing = iter(times_ns)
    drawing = Ulids(lambda: next(passing), lambda _: 0)
    for number, _ in enumerate(times_ns):
        assert at(drawing.draw()) == max(times_ns[: number + 1]) // MILLISECOND_NS


def test_two_that_go_on_from_the_same_number_do_not_meet() -> None:
    """As the children of a process do that was forked."""
    now = 10 * MILLISECOND_NS
    first, second = (Ulids(lambda: now, Random(seed).getrandbits) for seed in (1, 2))
    first._last = second._last = now << 80
    drawn = [one.draw() for one in (first, second) for _ in range(1000)]
    assert len(set(drawn)) == len(drawn)


def test_a_millisecond_that_is_full_goes_on_in_the_next() -> None:
    drawing = Ulids(lambda: 7 * MILLISECOND_NS, lambda bits: 2**bits - 1)
    first, second = drawing.draw(), drawing.draw()
    assert (at(first), at(second)) == (7, 8)
    assert second - first == 2**64


def test_threads_draw_each_number_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still, so that each number hangs on the one before."""
    monkeypatch.setattr(ids, "_ulids", Ulids(lambda: MILLISECOND_NS))

    def draw(_: int) -> list[str]:
        return [new_id(Prefix.SANDBOX) for _ in range(500)]

    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(draw, range(8)))
    assert len({one for own in drawn for one in own}) == 8 * 500
    assert all(own == sorted(own) for own in drawn)


def test_an_id_has_its_kind_and_26_digits_that_sort_as_the_number_does() -> None:
    drawn = [new_id(Prefix.COMMAND) for _ in range(1000)]
    assert drawn == sorted(drawn)
    assert all(re.fullmatch("CMD-[0-7][0-9A-HJKMNP-TV-Z]{25}", one) for one in drawn)


def test_a_serial_is_positive_and_fits_a_signed_64_bit_column() -> None:
    assert all(0 < new_serial() < 2**63 for _ in range(1000))
