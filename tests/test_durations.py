"""Durations fall under the first bound that is no shorter than they are."""

from __future__ import annotations

import pytest

from scheduler.durations import Durations


@pytest.mark.parametrize(
    ("seconds", "counts"),
    [(0.0, [1, 0, 0]), (0.5, [1, 0, 0]), (0.51, [0, 1, 0]), (2.0, [0, 1, 0]), (2.1, [0, 0, 1])],
)
def test_a_duration_is_counted_once(seconds: float, counts: list[int]) -> None:
    durations = Durations((0.5, 2.0))
    durations.add(seconds)
    assert (durations.counts, durations.sum_seconds) == (counts, seconds)
