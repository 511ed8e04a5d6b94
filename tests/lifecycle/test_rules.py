"""What single rules add to the table: tries, pauses, deadlines, conditions and wording."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.rules import Case, Look, look_of, wait, wait_and_tell
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown
from scheduler.lifecycle.steps import (
    Become,
    Build,
    Clear,
    ConditionKind,
    Limits,
    PowerOff,
    Relocate,
    SeekAddress,
    Settled,
    ShutDown,
    Start,
    Step,
    TearDown,
    Wait,
)
from scheduler.model import (
    Condition,
    DesiredState,
    DomainState,
    Phase,
    Sandbox,
    SandboxState,
    StateReason,
)
from tests.lifecycle.samples import NOW, domain, mark, sandbox

LIMITS = Limits(build_attempts=3, start_attempts=3, shutdown_seconds=60)
UNREACHABLE = Unknown(reason="alpha is silent", doubt=Doubt.HOST_UNREACHABLE)


def present(state: DomainState, reason: StateReason = StateReason.OTHER) -> Present:
    return Present(domain=domain(state, reason, marked=mark()))


RUNNING = present(DomainState.RUNNING)
OFF = present(DomainState.SHUT_OFF)


def judged(record: Sandbox, seen: Seen, *, after: float = 0) -> Step:
    return judge(record, seen, now=NOW + timedelta(seconds=after), limits=LIMITS)


def condition(kind: ConditionKind, message: str = "so it is") -> Condition:
    return Condition(kind=kind, message=message, since=NOW)


def becomes(step: Step) -> Become:
    assert isinstance(step, Become)
    return step


@pytest.mark.parametrize(
    ("phase", "seen", "step", "code"),
    [
        (Phase.BUILD, Absent(), Build, "build_failed"),
        (Phase.START, OFF, Start, "start_failed"),
    ],
)
def test_builds_and_starts_are_tried_three_times_on_a_host(
    phase: Phase, seen: Seen, step: type[Step], code: str
) -> None:
    tried = sandbox(
        SandboxState.STARTING,
        phase=phase,
        attempts=2,
        conditions=(condition(ConditionKind.FAILING, "no room in the pool"),),
    )
    assert isinstance(judged(tried, seen), step)
    moving = judged(replace(tried, attempts=3), seen)
    assert isinstance(moving, Relocate)
    assert moving.reason_code == code
    assert "3" in moving.reason_message
    assert moving.reason_message.endswith("; last failure: no room in the pool")
    given_up = becomes(moving.otherwise)
    assert (given_up.state, given_up.reason_code) == (SandboxState.ERROR, code)
    assert given_up.reason_message == moving.reason_message
    ran = replace(tried, attempts=3, running_at=NOW)
    assert judged(ran, seen) == given_up


def test_tries_of_one_phase_do_not_count_for_another() -> None:
    record = sandbox(SandboxState.STARTING, phase=Phase.START, attempts=9)
    assert judged(record, Absent()) == Build()
    record = sandbox(SandboxState.STARTING, phase=Phase.BUILD, attempts=9)
    assert judged(record, OFF) == Start()


def test_a_failed_try_is_repeated_after_its_pause() -> None:
    retry_at = NOW + timedelta(seconds=4)
    record = sandbox(phase=Phase.BUILD, attempts=1, retry_at=retry_at)
    paused = judged(record, Absent(), after=3)
    assert paused == Wait(code="backing_off", message="trying again at 12:00:04 UTC")
    assert judged(record, Absent(), after=4) == Build()


def test_a_pause_of_a_clock_that_was_wrong_is_over() -> None:
    record = sandbox(phase=Phase.BUILD, attempts=1, retry_at=NOW + timedelta(hours=1, seconds=4))
    assert isinstance(judged(record, Absent()), Wait)
    ahead = replace(record, updated_at=NOW + timedelta(hours=1))
    assert judged(ahead, Absent()) == Build()


def test_a_destroy_does_not_wait_for_the_pause_of_a_build() -> None:
    record = sandbox(
        desired_state=DesiredState.DESTROYED,
        phase=Phase.BUILD,
        retry_at=NOW + timedelta(seconds=40),
    )
    assert judged(record, Absent()) == TearDown()
    again = replace(record, phase=Phase.DESTROY)
    assert isinstance(judged(again, Absent()), Wait)
    assert judged(again, Absent(), after=40) == TearDown()


def test_a_stop_asks_repeats_and_then_forces() -> None:
    asked = sandbox(
        SandboxState.RUNNING,
        desired_state=DesiredState.STOPPED,
        phase=Phase.STOP,
        phase_at=NOW,
        retry_at=NOW + timedelta(seconds=10),
    )
    assert judged(replace(asked, phase=None), RUNNING) == ShutDown()
    assert judged(replace(asked, phase_at=None), RUNNING) == ShutDown()
    assert isinstance(judged(asked, RUNNING, after=9), Wait)
    assert judged(asked, RUNNING, after=10) == ShutDown()
    assert judged(replace(asked, retry_at=None), RUNNING, after=1) == ShutDown(), "was never asked"
    assert judged(asked, RUNNING, after=60) == PowerOff()
    assert judged(asked, present(DomainState.SHUTTING_DOWN), after=61) == PowerOff()


@pytest.mark.parametrize("phase", [None, *Phase])
def test_a_phase_cut_short_by_a_crash_is_judged_from_what_is_seen(phase: Phase | None) -> None:
    cut = sandbox(SandboxState.STARTING, phase=phase, phase_at=NOW)
    assert judged(cut, RUNNING) == SeekAddress()
    assert judged(cut, OFF) == Start()
    assert judged(cut, Absent()) == Build()


@pytest.mark.parametrize(
    ("record", "seen", "missing"),
    [
        (sandbox(), Absent(), "was not built"),
        (sandbox(SandboxState.STARTING), RUNNING, "had no known address"),
        (sandbox(desired_state=DesiredState.STOPPED), Absent(), "was not built"),
        (
            sandbox(SandboxState.STARTING),
            present(DomainState.PAUSED, StateReason.USER),
            "had no known address",
        ),
    ],
)
def test_coming_up_has_a_deadline(record: Sandbox, seen: Seen, missing: str) -> None:
    assert not isinstance(judged(record, seen, after=599), Become)
    step = becomes(judged(record, seen, after=600))
    assert (step.state, step.reason_code) == (SandboxState.ERROR, "provision_timeout")
    assert "600 s" in step.reason_message
    assert missing in step.reason_message


def test_the_deadline_counts_from_the_creation_when_nothing_was_queued() -> None:
    record = sandbox(queued_at=None, created_at=NOW - timedelta(seconds=600))
    assert becomes(judged(record, Absent())).reason_code == "provision_timeout"


@pytest.mark.parametrize(
    "record",
    [
        sandbox(SandboxState.RUNNING, ip_address="10.0.0.5"),
        sandbox(SandboxState.STARTING, desired_state=DesiredState.STOPPED),
        sandbox(desired_state=DesiredState.DESTROYED),
    ],
)
def test_the_deadline_is_only_for_coming_up(record: Sandbox) -> None:
    assert not isinstance(judged(record, RUNNING, after=10_000), Become)


def test_an_address_found_late_still_counts() -> None:
    late = sandbox(SandboxState.STARTING, ip_address="10.0.0.5")
    assert becomes(judged(late, RUNNING, after=700)).state is SandboxState.RUNNING


@pytest.mark.parametrize("seen", [UNREACHABLE, Unknown(reason="not listed yet")])
def test_the_deadline_does_not_strike_while_nothing_is_known(seen: Seen) -> None:
    assert not isinstance(judged(sandbox(SandboxState.STARTING), seen, after=700), Become)


def test_a_doubt_is_noted_once() -> None:
    noted = sandbox(SandboxState.RUNNING, conditions=(condition(ConditionKind.HOST_UNREACHABLE),))
    assert judged(noted, UNREACHABLE) == Wait(code="host_unreachable", message="alpha is silent")


def test_a_pause_is_noted_once() -> None:
    noted = sandbox(SandboxState.RUNNING, conditions=(condition(ConditionKind.PAUSED),))
    waiting = judged(noted, present(DomainState.PAUSED, StateReason.USER))
    assert waiting == Wait(code="paused", message="the domain is paused")


def test_conditions_that_are_over_are_cleared() -> None:
    kinds = (ConditionKind.PAUSED, ConditionKind.HOST_UNREACHABLE, ConditionKind.EXPIRED)
    record = sandbox(
        SandboxState.RUNNING,
        ip_address="10.0.0.5",
        conditions=tuple(condition(kind) for kind in kinds),
    )
    assert judged(record, RUNNING) == Clear(
        kinds=(ConditionKind.HOST_UNREACHABLE, ConditionKind.PAUSED)
    )


def test_a_condition_that_holds_is_kept() -> None:
    record = sandbox(SandboxState.ERROR, conditions=(condition(ConditionKind.PAUSED),))
    assert judged(record, present(DomainState.PAUSED, StateReason.USER)) == Settled()
    assert judged(record, OFF) == Clear(kinds=(ConditionKind.PAUSED,))


def test_a_start_that_overtook_a_stop_is_not_lost() -> None:
    record = sandbox(SandboxState.RUNNING, phase=Phase.STOP, phase_at=NOW)
    off = present(DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN)
    assert becomes(judged(record, off, after=120)).state is SandboxState.STARTING
    assert becomes(judged(record, off, after=121)).reason_code == "guest_shutdown"
    untimed = replace(record, phase_at=None)
    assert becomes(judged(untimed, off)).reason_code == "guest_shutdown"


def test_a_stop_that_was_taken_back_is_forgotten_after_a_while() -> None:
    record = sandbox(SandboxState.RUNNING, ip_address="10.0.0.5", phase=Phase.STOP, phase_at=NOW)
    assert judged(record, RUNNING, after=120) == Settled()
    forgotten = becomes(judged(record, RUNNING, after=121))
    assert (forgotten.state, forgotten.address_lost) == (SandboxState.RUNNING, False)


def test_every_domain_state_has_a_column() -> None:
    for state in DomainState:
        for reason in StateReason:
            assert look_of(present(state, reason)) in Look


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Absent(), "absent"),
        (UNREACHABLE, "unknown"),
        (present(DomainState.SHUT_OFF, StateReason.KILLED), "shut off (killed)"),
    ],
)
def test_waiting_says_what_the_domain_is_like(seen: Seen, words: str) -> None:
    step = wait(Case(sandbox=sandbox(), seen=seen, now=NOW, limits=LIMITS))
    assert step == Wait(code="domain_busy", message=f"the domain is {words}")


def test_a_passing_state_is_waited_out_without_a_note() -> None:
    seen = present(DomainState.PAUSED, StateReason.TRANSIENT)
    step = wait_and_tell(Case(sandbox=sandbox(), seen=seen, now=NOW, limits=LIMITS))
    assert isinstance(step, Wait)
    assert step.code == "domain_busy"
