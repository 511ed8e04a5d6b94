"""Sandboxes whose end is an image: stopped first, captured, and destroyed by no passing of time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from scheduler.lifecycle import expiry, outcomes
from scheduler.lifecycle.captures import ended_at, flat_volume, image_names
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Present
from scheduler.lifecycle.steps import Become, Capture, ConditionKind, Limits, Settled, Step, Wait
from scheduler.model import (
    Condition,
    DesiredState,
    DomainState,
    OnExpire,
    Phase,
    Sandbox,
    SandboxState,
)
from tests.lifecycle.samples import NOW, domain, mark, sandbox

DAY = 86_400
OFF = Present(domain=domain(DomainState.SHUT_OFF, marked=mark()))
STAMP = "20260301-120000"


def running(**changes: object) -> Sandbox:
    values: dict[str, object] = {
        "on_expire": OnExpire.IMAGE,
        "running_at": NOW,
        "ttl_seconds": 60,
        "expires_at": NOW,
        **changes,
    }
    return sandbox(SandboxState.RUNNING, **values)


def ended(**changes: object) -> Sandbox:
    stopped = replace(expiry.expire(running(), NOW, DAY), state=SandboxState.STOPPED)
    return replace(stopped, **changes)  # type: ignore[arg-type]


def judged(record: Sandbox, *, after: float = 0) -> Step:
    return judge(record, OFF, now=NOW + timedelta(seconds=after), limits=Limits())


def test_the_end_stops_it_and_says_what_comes_next() -> None:
    record = ended()
    assert record.desired_state is DesiredState.STOPPED
    (condition,) = record.conditions
    assert condition.kind == ConditionKind.EXPIRED
    assert "kept as an image" in condition.message
    assert ended_at(record) == NOW


def test_time_that_passes_never_destroys_it() -> None:
    later = NOW + timedelta(days=2)
    again = expiry.expire(ended(), later, DAY)
    assert again.desired_state is DesiredState.STOPPED
    assert ended_at(again) == NOW
    assert again.expires_at == later + timedelta(days=1)


def test_one_that_was_started_again_ends_anew() -> None:
    later = NOW + timedelta(days=2)
    started = ended(desired_state=DesiredState.RUNNING, state=SandboxState.RUNNING)
    again = expiry.expire(started, later, DAY)
    assert again.desired_state is DesiredState.STOPPED
    assert ended_at(again) == later
    assert len(again.conditions) == 1


@pytest.mark.parametrize("now", [NOW + timedelta(hours=1), NOW, NOW - timedelta(hours=1)])
def test_an_end_is_dated_anew_by_a_new_run_and_by_nothing_else(now: datetime) -> None:
    """Its disk is another one then; a clock that was set, or was set back, makes no difference."""
    later = max(now, NOW + timedelta(seconds=1))
    record = ended()
    assert ended_at(replace(record, queued_at=now)) == NOW
    (dated,) = expiry.run_anew(record, now)
    assert dated == replace(record.conditions[0], since=later)
    starting = Become(state=SandboxState.STARTING, reason_code="x", reason_message="x")
    assert ended_at(outcomes.become(record, starting, now=now)) == later
    stopped = Become(state=SandboxState.STOPPED, reason_code="x", reason_message="x")
    assert ended_at(outcomes.become(record, stopped, now=now)) == NOW
    started = replace(record, desired_state=DesiredState.RUNNING)
    assert ended_at(expiry.expire(started, now, DAY)) == later


def test_other_conditions_keep_their_time() -> None:
    paused = Condition(kind=ConditionKind.PAUSED, message="so", since=NOW)
    assert expiry.run_anew(ended(conditions=(paused,)), NOW + timedelta(days=1)) == (paused,)


def test_one_that_never_ran_has_nothing_to_keep() -> None:
    end = expiry.expire(running(running_at=None), NOW, DAY)
    assert end.desired_state is DesiredState.DESTROYED


def test_a_stopped_one_is_captured_and_every_other_rests() -> None:
    assert isinstance(judged(ended()), Capture)
    assert isinstance(judged(ended(on_expire=OnExpire.STOP)), Settled)
    assert isinstance(judged(ended(conditions=())), Settled)
    assert isinstance(judged(ended(state=SandboxState.RUNNING)), Become)
    assert ended_at(ended(desired_state=DesiredState.DESTROYED)) is None


def test_a_refusal_is_tried_again_after_a_pause() -> None:
    begun = outcomes.begun(ended(), Phase.IMAGE, now=NOW)
    failed = outcomes.failed(begun, "no room", now=NOW)
    assert isinstance(judged(failed), Wait)
    assert isinstance(judged(failed, after=1), Capture)


@pytest.mark.parametrize("name", ["box", "a" * 63, "a" * 46 + "-" + "b" * 16])
def test_names_tell_the_sandbox_and_the_moment(name: str) -> None:
    record = ended(sandbox_name=name)
    first, otherwise = image_names(record, NOW)
    assert first.endswith(f"-{STAMP}")
    assert first.startswith(name[:46])
    assert "--" not in first
    assert len(first) <= 63
    assert otherwise == f"sbx-1-{STAMP}"
    assert flat_volume(record, NOW) == f"sbx-1-{STAMP}.qcow2"


def test_another_condition_is_no_end() -> None:
    paused = Condition(kind=ConditionKind.PAUSED, message="so", since=NOW)
    assert ended_at(ended(conditions=(paused,))) is None
