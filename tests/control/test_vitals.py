"""Who is stuck: what is overdue beyond patience, and nobody who waits or has ended."""

from __future__ import annotations

import pytest

from scheduler.control.vitals import LAG_SECONDS, NEVER, Stuck, Turn, find_stuck

NOW = 1000.0
PATIENCE = 60.0


def resting(due_at: float, name: str = "reap") -> Turn:
    return Turn(name=name, working_since=None, longest_seconds=300, due_at=due_at)


def working(since: float, name: str = "reap") -> Turn:
    return Turn(name=name, working_since=since, longest_seconds=300, due_at=NEVER)


def stuck(*turns: Turn, lag: float = 0.0) -> tuple[Stuck, ...]:
    return find_stuck(turns, lag_seconds=lag, now=NOW, patience_seconds=PATIENCE)


@pytest.mark.parametrize(
    "turn",
    [
        resting(NOW + 5),
        resting(NOW - PATIENCE),
        resting(NEVER),
        working(NOW),
        working(NOW - 300 - PATIENCE),
    ],
)
def test_within_its_bounds_a_loop_is_well(turn: Turn) -> None:
    assert stuck(turn) == ()


def test_a_turn_that_does_not_end_is_stuck() -> None:
    (found,) = stuck(working(NOW - 361))
    assert found == Stuck(name="reap", message="reap has been at one turn for 361 s")


def test_a_loop_that_does_not_begin_when_it_is_due_is_stuck() -> None:
    (found,) = stuck(resting(NOW - 61))
    assert found == Stuck(name="reap", message="reap has been due for 61 s and does not begin")


def test_one_of_many_that_hangs_hangs_alone() -> None:
    assert stuck(working(0, "poll"), working(NOW, "poll"), working(1, "poll")) == ()


def test_a_part_all_of_whose_members_hang_is_stuck() -> None:
    (found,) = stuck(working(0, "poll"), working(100, "poll"), resting(NOW))
    assert found == Stuck(name="poll", message="poll has been at one turn for 900 s")


def test_an_event_loop_that_lags_is_stuck() -> None:
    assert stuck(resting(NOW), lag=LAG_SECONDS - 0.1) == ()
    (found,) = stuck(resting(NOW), lag=LAG_SECONDS)
    assert found == Stuck(name="event loop", message="the event loop wakes 5 s late")


def test_nothing_at_all_is_well() -> None:
    assert stuck() == ()
