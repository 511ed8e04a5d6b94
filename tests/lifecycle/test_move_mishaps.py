"""What is copied of a sandbox that moves, and is of no use any more or was refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.lifecycle import moves, moving, outcomes
from scheduler.lifecycle.sightings import Seen
from scheduler.model import Sandbox
from tests.lifecycle.samples import NOW
from tests.lifecycle.test_moves import (
    FAILING,
    FOUND,
    OFF,
    ON,
    PAUSED,
    RUNNING,
    STOPPED,
    UP,
    carrier,
    judged,
    wished,
)

LEAVING = wished(STOPPED, desired_state=UP)


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


@pytest.mark.parametrize(
    ("drain_id", "beside", "may"),
    [
        ("DRN-1", (), True),
        ("DRN-1", (LEAVING,), True),
        ("DRN-1", (LEAVING, LEAVING), False),
        (None, (LEAVING, LEAVING), True),
        ("DRN-1", (LEAVING, replace(LEAVING, conditions=(FAILING,))), True),
        ("DRN-1", (LEAVING, replace(LEAVING, phase=None, state=RUNNING)), True),
        ("DRN-1", (LEAVING, replace(LEAVING, move_asked_at=None)), True),
    ],
)
def test_a_drain_has_so_many_leave_at_once(
    drain_id: str | None, beside: tuple[Sandbox, ...], *, may: bool
) -> None:
    record = wished(id="SBX-9", move_drain_id=drain_id)
    assert moves.has_turn(record, (record, *beside)) is may
