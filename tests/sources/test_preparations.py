"""How far a preparation has come, as its record tells it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import SourceVM
from scheduler.sources.preparations import (
    PURPOSES,
    Outcome,
    Preparation,
    Secret,
    StepName,
    StepState,
    begun,
    done,
    failed,
    from_json,
    to_json,
    unprepared,
)
from tests.clocks import START

ASKED = Preparation(actor="uid:1000", asked_at=START)
LATER = START + timedelta(seconds=5)
SOURCE = SourceVM(
    id="SVM-1",
    name="golden",
    host_name="alpha",
    prepared=True,
    ca_fingerprint="SHA256:now",
    domain_uuid="uuid",
    created_at=START,
    updated_at=START,
)


def after(steps: int) -> Preparation:
    """A preparation of which so many steps are done."""
    preparation = ASKED
    for name in list(StepName)[:steps]:
        preparation = done(begun(preparation, name, START), name, "made", LATER)
    return preparation


def test_steps_are_taken_in_their_order_and_after_the_last_it_is_prepared() -> None:
    taken = []
    preparation = ASKED
    while preparation.running:
        step = preparation.next_step
        assert step is not None
        taken.append(step.name)
        preparation = begun(preparation, step.name, START)
        assert preparation.next_step is not None
        assert preparation.next_step.state is StepState.BEGUN, "a death here takes it again"
        preparation = done(preparation, step.name, "made", LATER)
    assert taken == list(StepName)
    assert (preparation.outcome, preparation.ended_at) == (Outcome.PREPARED, LATER)
    assert preparation.next_step is None
    assert {step.said for step in preparation.steps} == {"made"}


def test_a_failure_ends_it_with_its_reason() -> None:
    at = begun(after(3), StepName.ACCOUNT, START)
    ended = failed(at, StepName.ACCOUNT, "no useradd", "install it", LATER)
    assert not ended.running
    assert (ended.reason, ended.remedy, ended.ended_at) == ("no useradd", "install it", LATER)
    assert ended.steps[3].state is StepState.FAILED
    assert ended.steps[4].state is StepState.WAITING


@given(
    steps=st.integers(0, len(StepName)),
    secrets=st.lists(st.builds(Secret, kind=st.text(max_size=5), what=st.text(max_size=9))),
    fails=st.booleans(),
)
def test_the_record_gives_back_what_it_was_given(
    steps: int, secrets: list[Secret], fails: bool
) -> None:
    preparation = replace(after(steps), secrets=tuple(secrets), cloud_init=fails)
    step = preparation.next_step
    if fails and step is not None:
        preparation = failed(begun(preparation, step.name, START), step.name, "no", None, LATER)
    assert from_json(to_json(preparation)) == preparation
    assert to_json(preparation).isascii()


def test_nothing_recorded_is_nothing() -> None:
    assert from_json(None) is None
    assert PURPOSES.keys() == set(StepName)


@pytest.mark.parametrize(
    ("changes", "authority", "uuid", "why"),
    [
        ({}, "SHA256:now", "uuid", None),
        ({}, "SHA256:now", None, None),
        ({"prepared": False}, "SHA256:now", "uuid", "not prepared"),
        ({}, "SHA256:next", "uuid", "authority was changed"),
        ({}, None, "uuid", "authority was changed"),
        ({"ca_fingerprint": None}, "SHA256:now", "uuid", "authority was changed"),
        ({"ca_fingerprint": None}, None, "uuid", "authority was changed"),
        ({}, "SHA256:now", "other", "another machine"),
    ],
)
def test_another_authority_or_none_counts_as_unprepared(
    changes: dict[str, object], authority: str | None, uuid: str | None, why: str | None
) -> None:
    """W27: a fingerprint that is missing on either side never passes for the same one."""
    source = replace(SOURCE, **changes)  # type: ignore[arg-type]
    said = unprepared(source, authority=authority, domain_uuid=uuid)
    assert (said is None) if why is None else (why in (said or ""))
