"""Who may move to another host, and what is told of the hosts that failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.lifecycle import outcomes
from scheduler.lifecycle.alternates import (
    arriving,
    coming_up,
    may_move,
    moved,
    sent_back,
    story,
    stranded,
)
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Unknown
from scheduler.lifecycle.steps import Become, Build, ConditionKind, Limits, Note, Relocate, Wait
from scheduler.model import (
    Condition,
    DesiredState,
    DomainState,
    HostFailure,
    Phase,
    Sandbox,
    SandboxState,
)
from tests.lifecycle.samples import NOW, UUID, domain, host, mark, sandbox

LIMITS = Limits()
DOWN = Unknown(reason="alpha is silent", doubt=Doubt.HOST_UNREACHABLE)
REFUSED = Condition(kind=ConditionKind.FAILING, message="no room", since=NOW)


def failure(name: str) -> HostFailure:
    return HostFailure(
        host_id=f"HST-{name}", host_name=name, reason_code="build_failed", message="no", at=NOW
    )


def used_up(**changes: object) -> Sandbox:
    tried = {"phase": Phase.BUILD, "attempts": 3, "conditions": (REFUSED,)}
    return sandbox(**{**tried, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "is_coming"),
    [
        (sandbox(), True),
        (sandbox(desired_state=DesiredState.STOPPED), True),
        (sandbox(SandboxState.STARTING), True),
        (sandbox(SandboxState.STARTING, running_at=NOW), False),
        (sandbox(SandboxState.ERROR), False),
        (sandbox(SandboxState.STOPPED), False),
        (sandbox(desired_state=DesiredState.DESTROYED), False),
    ],
)
def test_only_what_was_never_up_comes_up(record: Sandbox, is_coming: bool) -> None:
    assert coming_up(record) is is_coming


def test_three_hosts_in_all_are_tried() -> None:
    assert may_move(sandbox(), LIMITS)
    assert may_move(sandbox(failed_hosts=(failure("a"),)), LIMITS)
    assert not may_move(sandbox(failed_hosts=(failure("a"), failure("b"))), LIMITS)
    assert not may_move(sandbox(), Limits(build_hosts=1))


def test_the_last_host_ends_it_with_the_reasons_of_all() -> None:
    last = used_up(failed_hosts=(failure("a"), failure("b")), host_name="c")
    step = judge(last, Absent(), now=NOW, limits=LIMITS)
    assert isinstance(step, Become)
    assert (step.state, step.reason_code) == (SandboxState.ERROR, "build_failed")
    assert step.reason_message.startswith("no host could bring it up: a: no; b: no; c: ")
    assert step.reason_message.endswith("last failure: no room")


def test_a_guest_that_dies_by_itself_dies_everywhere() -> None:
    off = Present(domain=domain(DomainState.SHUT_OFF, marked=mark()))
    died = sandbox(SandboxState.STARTING, phase=Phase.START, attempts=3)
    step = judge(died, off, now=NOW, limits=LIMITS)
    assert isinstance(step, Become)
    refused = replace(died, conditions=(REFUSED,))
    assert isinstance(judge(refused, off, now=NOW, limits=LIMITS), Relocate)


def test_the_time_to_come_up_spans_all_hosts() -> None:
    late = NOW + timedelta(seconds=sandbox().provision_timeout_seconds)
    waited = used_up(failed_hosts=(failure("a"),), host_name="b")
    step = judge(waited, Absent(), now=late, limits=LIMITS)
    assert isinstance(step, Become)
    assert step.reason_code == "provision_timeout"
    assert step.reason_message.startswith("no host could bring it up: a: no; b: not up after")
    assert isinstance(judge(sandbox(), DOWN, now=late, limits=LIMITS), Note)


def test_what_was_up_once_waits_for_its_host() -> None:
    ran = sandbox(SandboxState.STARTING, running_at=NOW)
    assert isinstance(judge(ran, DOWN, now=NOW, limits=LIMITS), Note)


def test_whom_no_other_host_takes_waits_for_its_own() -> None:
    step = judge(sandbox(), DOWN, now=NOW, limits=LIMITS)
    assert isinstance(step, Relocate)
    assert isinstance(step.otherwise, Note)
    told = outcomes.noted(sandbox(), step.otherwise, now=NOW)
    again = judge(told, DOWN, now=NOW, limits=LIMITS)
    assert isinstance(again, Relocate)
    assert again.otherwise == Wait(code="host_unreachable", message="alpha is silent")


def test_a_moved_sandbox_begins_anew_on_its_new_host_and_stays_itself() -> None:
    before = used_up(
        mac="52:54:00:00:00:01", base_fingerprint="old", ip_address="10.0.0.5", queued_at=NOW
    )
    step = judge(before, Absent(), now=NOW, limits=LIMITS)
    assert isinstance(step, Relocate)
    later = NOW + timedelta(seconds=9)
    beta = host(id="HST-2", name="beta", address="beta.example")
    after = moved(before, step, to=beta, network="lab", decision_id="DEC-2", now=later)

    assert (after.host_id, after.host_name, after.host_address) == ("HST-2", "beta", "beta.example")
    assert (after.network, after.decision_id, after.updated_at) == ("lab", "DEC-2", later)
    assert (after.phase, after.attempts, after.conditions) == (None, 0, ())
    assert (after.base_fingerprint, after.ip_address) == (None, None)
    assert (after.domain_uuid, after.mac) == (UUID, "52:54:00:00:00:01")
    assert (after.state, after.queued_at) == (SandboxState.CREATED, NOW)
    assert after.reason_code == "moved"
    assert [(f.host_name, f.reason_code) for f in after.failed_hosts] == [("alpha", "build_failed")]
    assert judge(after, Absent(), now=later, limits=LIMITS) == Build()


@pytest.mark.parametrize(
    ("state", "kept"),
    [(SandboxState.RUNNING, 0), (SandboxState.STOPPED, 0), (SandboxState.ERROR, 1)],
)
def test_failed_hosts_are_forgotten_once_another_brought_it_up(
    state: SandboxState, kept: int
) -> None:
    record = sandbox(SandboxState.STARTING, failed_hosts=(failure("a"),))
    step = Become(state=state, reason_code="x", reason_message="y")
    assert len(outcomes.become(record, step, now=NOW).failed_hosts) == kept


def test_the_story_is_short_where_one_host_is_all_of_it() -> None:
    assert story(sandbox(), "no room") == "no room"


def test_who_has_nowhere_to_go_is_told_why() -> None:
    end = Become(state=SandboxState.ERROR, reason_code="x", reason_message="no room")
    step = Relocate(reason_code="x", reason_message="no room", otherwise=end)
    told = stranded(step, "it is pinned to alpha")
    assert isinstance(told, Become)
    assert told.reason_message == "no room; no other host is tried: it is pinned to alpha"
    waiting = Wait(code="x", message="y")
    assert stranded(replace(step, otherwise=waiting), "it is pinned to alpha") is waiting


def test_it_arrives_until_its_build_is_over() -> None:
    came = sandbox(SandboxState.STARTING, reason_code="moved")
    assert arriving(came)
    assert arriving(replace(came, phase=Phase.BUILD))
    assert not arriving(replace(came, phase=Phase.START))
    assert not arriving(sandbox(SandboxState.STARTING, reason_code="starting"))


def test_one_that_is_sent_back_is_to_be_destroyed_and_its_host_to_be_asked() -> None:
    """A record without a phase would say that nothing was ever begun there."""
    lost = sandbox(
        ip_address="10.0.0.5",
        base_fingerprint="of zeta",
        conditions=(Condition(kind=ConditionKind.PAUSED, message="-", since=NOW),),
    )
    back = sent_back(lost, to=host(id="HST-7", name="alpha"), lost="zeta", now=NOW)
    assert (back.host_id, back.host_name, back.state) == ("HST-7", "alpha", lost.state)
    assert (back.desired_state, back.phase) == (DesiredState.DESTROYED, Phase.DESTROY)
    assert (back.ip_address, back.base_fingerprint, back.conditions) == (None, None, ())
    assert back.domain_uuid == lost.domain_uuid, "by which it is looked for there"
    assert back.reason_code == "forgotten_on_host"
    assert "held on zeta was forgotten" in (back.reason_message or "")
