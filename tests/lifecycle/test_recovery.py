"""How a failed sandbox comes back: resumed when its pool has room, or built by a retry."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.lifecycle import outcomes
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown
from scheduler.lifecycle.steps import (
    Become,
    Build,
    Limits,
    PowerOff,
    Relocate,
    Resume,
    SeekAddress,
    Settled,
    Step,
    Wait,
)
from scheduler.model import (
    DesiredState,
    DomainState,
    HostFailure,
    Phase,
    Sandbox,
    SandboxState,
    StateReason,
)
from tests.lifecycle.samples import NOW, domain, mark, sandbox

LIMITS = Limits(resume_room_mb=64)
STARVED = Present(domain=domain(DomainState.PAUSED, StateReason.IO_ERROR, marked=mark()))
RUNNING = Present(domain=domain(DomainState.RUNNING, marked=mark()))


def full(**changes: object) -> Sandbox:
    values = {"reason_code": "storage_full", "ip_address": "10.0.0.5", **changes}
    return sandbox(SandboxState.ERROR, **values)


def judged(record: Sandbox, seen: Seen, *, free: int = 64, after: float = 0) -> Step:
    now = NOW + timedelta(seconds=after)
    return judge(record, seen, now=now, limits=LIMITS, pool_free_mb=free)


@pytest.mark.parametrize(("free", "step"), [(0, Settled), (63, Settled), (64, Resume)])
def test_a_guest_goes_on_once_its_pool_has_room(free: int, step: type[Step]) -> None:
    assert isinstance(judged(full(), STARVED, free=free), step)


def test_no_other_failure_is_resumed() -> None:
    assert isinstance(judged(full(reason_code="provision_timeout"), STARVED), Settled)
    stopping = full(desired_state=DesiredState.STOPPED)
    assert isinstance(judged(stopping, STARVED), PowerOff)


def test_a_resumed_guest_runs_once_it_has_stayed_up() -> None:
    resumed = outcomes.done(outcomes.begun(full(), Phase.RESUME, now=NOW), now=NOW)
    step = judged(resumed, RUNNING)
    assert isinstance(step, Wait)
    assert step.code == "backing_off"
    step = judged(resumed, RUNNING, after=1)
    assert isinstance(step, Become)
    assert (step.state, step.reason_code) == (SandboxState.RUNNING, "resumed")
    running = outcomes.become(resumed, step, now=NOW)
    assert (running.phase, running.attempts, running.ip_address) == (None, 0, "10.0.0.5")


def test_a_guest_that_is_paused_again_at_once_waits_longer_each_time() -> None:
    record = full()
    pauses: list[float] = []
    for _ in range(8):
        assert isinstance(judged(record, STARVED, after=sum(pauses)), Resume)
        now = NOW + timedelta(seconds=sum(pauses))
        record = outcomes.done(outcomes.begun(record, Phase.RESUME, now=now), now=now)
        assert isinstance(judged(record, STARVED, after=sum(pauses)), Wait)
        assert record.retry_at is not None
        pauses.append((record.retry_at - now).total_seconds())
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_resumption_cut_short_is_judged_from_what_is_seen() -> None:
    begun = outcomes.begun(full(), Phase.RESUME, now=NOW)
    assert isinstance(judged(begun, STARVED), Resume)
    assert isinstance(judged(begun, RUNNING), Become)


def test_one_that_runs_though_nobody_resumed_it_is_asked_for_its_address() -> None:
    assert isinstance(judged(full(ip_address=None), RUNNING), SeekAddress)


def retried(**changes: object) -> Sandbox:
    values = {"auto_start": False, "desired_state": DesiredState.STOPPED, **changes}
    return sandbox(SandboxState.STARTING, **values)


def test_what_is_only_to_be_built_is_built_again_and_stays_off() -> None:
    assert isinstance(judged(retried(), Absent()), Build)
    off = Present(domain=domain(DomainState.SHUT_OFF, marked=mark()))
    step = judged(retried(), off)
    assert isinstance(step, Become)
    assert (step.state, step.reason_code) == (SandboxState.STOPPED, "stopped")


@pytest.mark.parametrize(
    "changes", [{"auto_start": True, "phase": Phase.START}, {"running_at": NOW}]
)
def test_what_was_up_and_is_gone_is_lost(changes: dict[str, object]) -> None:
    step = judged(retried(**changes), Absent())
    assert isinstance(step, Become)
    assert step.reason_code == "domain_lost"


FAILURE = HostFailure(host_id="HST-9", host_name="zeta", reason_code="no", message="no", at=NOW)
STOPPED_EARLY = {"auto_start": True, "queued_at": NOW}


@pytest.mark.parametrize("phase", [None, Phase.BUILD])
@pytest.mark.parametrize(
    "came",
    [
        {"failed_hosts": (FAILURE,)},
        {"reason_code": "moved"},
        {"reason_code": "retried"},
        {"reason_code": "drained"},
        {"reason_code": "lease_expired"},
    ],
)
def test_a_stop_that_comes_before_the_domain_loses_nothing(
    came: dict[str, object], phase: Phase | None
) -> None:
    """As after a move, in state STARTING, to a host where there was nothing yet."""
    early = retried(**STOPPED_EARLY, **came, phase=phase)
    assert isinstance(judged(early, Absent()), Build)
    off = Present(domain=domain(DomainState.SHUT_OFF, marked=mark()))
    step = judged(early, off)
    assert isinstance(step, Become)
    assert step.state is SandboxState.STOPPED
    late = judged(early, Absent(), after=600)
    assert isinstance(late, Become)
    assert late.reason_code == "provision_timeout"
    assert not isinstance(judged(early, RUNNING, after=600), Become), (
        "it is shut down, however late"
    )


@pytest.mark.parametrize("since", [{"phase": Phase.START}, {"running_at": NOW}])
def test_what_was_started_after_a_move_and_is_gone_is_lost(since: dict[str, object]) -> None:
    moved = retried(**STOPPED_EARLY, failed_hosts=(FAILURE,), **since)
    step = judged(moved, Absent())
    assert isinstance(step, Become)
    assert step.reason_code == "domain_lost"


def test_building_again_has_the_same_deadline_and_bounds() -> None:
    late = judged(retried(), Absent(), after=600)
    assert isinstance(late, Become)
    assert late.reason_code == "provision_timeout"
    tried = retried(phase=Phase.BUILD, attempts=LIMITS.build_attempts)
    step = judged(tried, Absent())
    assert isinstance(step, Become)
    assert step.reason_code == "build_failed"
    silent = Unknown(reason="no answer", doubt=Doubt.HOST_UNREACHABLE)
    assert not isinstance(judged(retried(), silent), Relocate)
