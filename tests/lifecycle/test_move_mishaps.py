"""What is copied of a sandbox that moves, and is of no use any more or was refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.lifecycle import moves, moving, outcomes
from scheduler.lifecycle.sightings import Seen
from scheduler.model import Sandbox
from tests.lifecycle.samples import NOW
from tests.lifecycle.test_moves import FOUND, OFF, ON, PAUSED, STOPPED, carrier, judged, wished


@pytest.mark.parametrize(
    ("record", "look", "again"),
    [
        (wished(STOPPED), ON, True),
        (wished(STOPPED), PAUSED, True),
        (wished(STOPPED), OFF, False),
        (wished(**FOUND), ON, False),
        (wished(STOPPED, move_asked_at=None), ON, False),
    ],
)
def test_a_guest_that_runs_though_it_was_off_was_run_by_others(
    record: Sandbox, look: Seen, *, again: bool
) -> None:
    assert moves.runs_again(record, judged(record, look)) is again


def test_each_wish_has_names_of_its_own() -> None:
    record = wished(STOPPED)
    first, second = moves.image_names(record, NOW)
    later = moves.image_names(record, NOW + timedelta(seconds=1))[1]
    images = [carrier(name) for name in (first, later)]
    assert moves.asked_apart(record, (), NOW) == NOW
    assert moves.asked_apart(record, images[:1], NOW) == NOW + timedelta(seconds=1)
    assert moves.asked_apart(record, images, NOW) == NOW + timedelta(seconds=2)
    assert second not in moves.image_names(record, NOW + timedelta(seconds=2))


def test_what_was_refused_is_told_while_it_is_copied_again() -> None:
    tried = outcomes.failed(wished(STOPPED, **FOUND, attempts=7), "no room", now=NOW)
    fresh = moving.copying(tried, 0, now=NOW)
    assert (fresh.attempts, fresh.retry_at, fresh.conditions) == (0, None, ())
    again = moving.copying(tried, 2, now=NOW)
    assert (again.attempts, again.conditions) == (2, tried.conditions)
