"""What each step writes into the record."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from scheduler.lifecycle.outcomes import (
    SHUTDOWN_REPEAT_SECONDS,
    backoff_seconds,
    become,
    begun,
    cleared,
    done,
    failed,
    noted,
)
from scheduler.lifecycle.steps import Become, Clear, ConditionKind, Note
from scheduler.model import Condition, DesiredState, IpSource, Phase, Sandbox, SandboxState
from tests.lifecycle.samples import NOW, sandbox

LATER = NOW + timedelta(seconds=90)
FAILING = Condition(kind=ConditionKind.FAILING, message="no", since=NOW)


def test_the_pause_doubles_up_to_its_limit() -> None:
    assert [backoff_seconds(n) for n in (0, 1, 2, 3, 7, 10_000)] == [1, 1, 2, 4, 60, 60]
    assert backoff_seconds(10_000, longest=3600) == 3600


def test_a_new_phase_starts_afresh() -> None:
    record = sandbox(phase=Phase.BUILD, phase_at=NOW, attempts=2, retry_at=LATER)
    begin = begun(record, Phase.START, now=LATER)
    assert (begin.phase, begin.phase_at) == (Phase.START, LATER)
    assert (begin.attempts, begin.retry_at) == (0, None)


def test_the_same_phase_goes_on() -> None:
    record = sandbox(phase=Phase.STOP, phase_at=NOW, attempts=2, retry_at=NOW)
    assert begun(record, Phase.STOP, now=LATER) == replace(record, updated_at=LATER)


def test_what_was_built_never_looks_like_nothing() -> None:
    record = sandbox(
        phase=Phase.BUILD, phase_at=NOW, attempts=2, retry_at=NOW, conditions=(FAILING,)
    )
    built = done(record, now=LATER)
    assert (built.phase, built.phase_at) == (Phase.BUILD, NOW)
    assert (built.attempts, built.retry_at, built.conditions) == (0, None, ())


def test_a_start_that_takes_is_a_try_until_the_guest_is_up() -> None:
    started = done(sandbox(phase=Phase.START, attempts=1), now=LATER)
    assert (started.phase, started.attempts) == (Phase.START, 2)
    assert started.retry_at == LATER + timedelta(seconds=2)


def test_a_shutdown_is_asked_for_again_after_a_while() -> None:
    asked = done(sandbox(phase=Phase.STOP, phase_at=NOW), now=LATER)
    assert (asked.phase, asked.phase_at) == (Phase.STOP, NOW)
    assert asked.retry_at == LATER + timedelta(seconds=SHUTDOWN_REPEAT_SECONDS)


def test_a_failure_counts_and_is_told() -> None:
    once = failed(sandbox(phase=Phase.BUILD), "no room", now=NOW)
    twice = failed(once, "still no room", now=LATER)
    assert (twice.phase, twice.attempts) == (Phase.BUILD, 2)
    assert twice.retry_at == LATER + timedelta(seconds=2)
    assert twice.conditions == (
        Condition(kind=ConditionKind.FAILING, message="still no room", since=NOW),
    )


def reach(record: Sandbox, state: SandboxState, **changes: object) -> Sandbox:
    step = Become(state=state, reason_code="why", reason_message="because")
    return become(record, replace(step, **changes), now=LATER)  # type: ignore[arg-type]


def test_becoming_writes_state_reason_and_rest() -> None:
    record = sandbox(
        SandboxState.STARTING,
        phase=Phase.START,
        phase_at=NOW,
        attempts=2,
        retry_at=LATER,
        ip_address="10.0.0.5",
        ttl_seconds=60,
        conditions=(FAILING, Condition(kind=ConditionKind.EXPIRED, message="x", since=NOW)),
    )
    up = reach(record, SandboxState.RUNNING)
    assert (up.state, up.reason_code, up.reason_message) == ("RUNNING", "why", "because")
    assert (up.phase, up.phase_at, up.attempts, up.retry_at) == (None, None, 0, None)
    assert [c.kind for c in up.conditions] == [ConditionKind.EXPIRED]
    assert (up.ip_address, up.running_at) == ("10.0.0.5", LATER)
    assert up.expires_at == LATER + timedelta(seconds=60)
    assert up.desired_state is DesiredState.RUNNING


def test_a_guests_own_shutdown_is_a_wish() -> None:
    record = sandbox(
        SandboxState.RUNNING, ip_address="10.0.0.5", ip_source=IpSource.LEASE, ip_seen_at=NOW
    )
    record = replace(record, ip_gateway="10.0.0.1")
    down = reach(record, SandboxState.STOPPED, desired=DesiredState.STOPPED, address_lost=True)
    assert down.desired_state is DesiredState.STOPPED
    assert (down.ip_address, down.ip_source, down.ip_seen_at) == (None, None, None)
    assert down.ip_gateway is None
    assert down.running_at is None


def test_the_time_to_come_up_is_counted_anew_after_a_rest() -> None:
    assert reach(sandbox(), SandboxState.STARTING).queued_at == NOW
    assert reach(sandbox(SandboxState.STOPPED), SandboxState.STARTING).queued_at == LATER


def test_a_condition_keeps_the_time_it_began() -> None:
    first = noted(sandbox(), Note(kind=ConditionKind.PAUSED, message="a"), now=NOW)
    again = noted(first, Note(kind=ConditionKind.PAUSED, message="b"), now=LATER)
    assert again.conditions == (Condition(kind="paused", message="b", since=NOW),)
    assert cleared(again, Clear(kinds=(ConditionKind.PAUSED,)), now=LATER).conditions == ()
    kept = cleared(again, Clear(kinds=(ConditionKind.FAILING,)), now=LATER)
    assert kept.conditions == again.conditions


def test_staying_up_keeps_the_time_it_came_up() -> None:
    record = sandbox(SandboxState.RUNNING, running_at=NOW, phase=Phase.STOP)
    kept = reach(record, SandboxState.RUNNING)
    assert (kept.running_at, kept.phase) == (NOW, None)
