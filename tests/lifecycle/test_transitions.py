"""The transition table, cell by cell, against the design's own table."""

from __future__ import annotations

import itertools

import pytest

from scheduler.errors import Conflict
from scheduler.lifecycle.transitions import ALLOWED, allowed, check
from scheduler.model import SandboxState

DESIGN = {
    "CREATED": {"STARTING", "STOPPED", "ERROR", "DESTROYED"},
    "STARTING": {"RUNNING", "STOPPED", "ERROR", "DESTROYED"},
    "RUNNING": {"STOPPED", "STARTING", "ERROR", "DESTROYED"},
    "STOPPED": {"CREATED", "STARTING", "ERROR", "DESTROYED"},
    "ERROR": {"STARTING", "RUNNING", "STOPPED", "DESTROYED"},
    "DESTROYED": set(),
}


@pytest.mark.parametrize(
    ("old", "new"), list(itertools.product(SandboxState, SandboxState)), ids=str
)
def test_every_pair_is_as_designed(old: SandboxState, new: SandboxState) -> None:
    expected = new.value in DESIGN[old.value] or (old is new and old is not SandboxState.DESTROYED)
    assert allowed(old, new) is expected
    if expected:
        check(old, new)
        return
    with pytest.raises(Conflict) as refused:
        check(old, new)
    assert refused.value.details == {"state": old.value, "wanted": new.value}
    assert old.value in refused.value.message
    assert new.value in refused.value.message


def test_every_state_has_a_row() -> None:
    assert set(ALLOWED) == set(SandboxState)


def test_destroyed_is_terminal() -> None:
    assert ALLOWED[SandboxState.DESTROYED] == frozenset()
    with pytest.raises(Conflict) as refused:
        check(SandboxState.DESTROYED, SandboxState.STARTING)
    assert refused.value.remedy is not None
    assert "new sandbox" in refused.value.remedy


def test_a_refusal_names_what_is_possible() -> None:
    with pytest.raises(Conflict) as refused:
        check(SandboxState.STOPPED, SandboxState.RUNNING)
    assert refused.value.remedy is not None
    assert "DESTROYED, ERROR, STARTING" in refused.value.remedy
