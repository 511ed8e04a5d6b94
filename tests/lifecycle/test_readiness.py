"""Ready by its address, or only once SSH answers."""

from __future__ import annotations

from datetime import timedelta

from scheduler.lifecycle import outcomes
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Present
from scheduler.lifecycle.steps import Become, ConditionKind, Limits, Note, SeekAddress, TrySsh
from scheduler.model import DomainState, Readiness, Sandbox, SandboxState
from tests.lifecycle.samples import NOW, domain, mark, sandbox

UP = Present(domain=domain(DomainState.RUNNING, marked=mark()))
ADDRESS = "10.0.0.5"


def starting(**changes: object) -> Sandbox:
    return sandbox(SandboxState.STARTING, **changes)


def test_an_address_is_enough_unless_ssh_was_asked_for() -> None:
    step = judge(starting(ip_address=ADDRESS), UP, now=NOW, limits=Limits())
    assert isinstance(step, Become)
    assert step.reason_message == f"the domain runs and has the address {ADDRESS}"


def test_who_asked_for_ssh_waits_for_the_address_and_then_for_ssh() -> None:
    record = starting(ready=Readiness.SSH)
    assert judge(record, UP, now=NOW, limits=Limits()) == SeekAddress()
    known = starting(ready=Readiness.SSH, ip_address=ADDRESS)
    assert judge(known, UP, now=NOW, limits=Limits()) == TrySsh()
    answered = starting(ready=Readiness.SSH, ip_address=ADDRESS, ssh_seen_at=NOW)
    step = judge(answered, UP, now=NOW, limits=Limits())
    assert isinstance(step, Become)
    assert step.state is SandboxState.RUNNING
    assert "where SSH answers" in step.reason_message


def test_a_guest_that_ended_has_to_answer_again() -> None:
    ran = sandbox(SandboxState.RUNNING, ip_address=ADDRESS, ssh_seen_at=NOW)
    ended = Become(
        state=SandboxState.STOPPED, reason_code="x", reason_message="y", address_lost=True
    )
    assert outcomes.become(ran, ended, now=NOW).ssh_seen_at is None


def test_what_took_too_long_is_told_with_the_last_word_of_ssh() -> None:
    record = starting(ready=Readiness.SSH, ip_address=ADDRESS, queued_at=NOW)
    late = NOW + timedelta(seconds=record.provision_timeout_seconds)
    silent = judge(record, UP, now=late, limits=Limits())
    assert isinstance(silent, Become)
    assert silent.reason_message.endswith("the domain did not answer over SSH")
    note = Note(kind=ConditionKind.SSH_SILENT, message="connection refused")
    told = judge(outcomes.noted(record, note, now=NOW), UP, now=late, limits=Limits())
    assert isinstance(told, Become)
    assert told.reason_code == "provision_timeout"
    assert told.reason_message.endswith("did not answer over SSH (connection refused)")
