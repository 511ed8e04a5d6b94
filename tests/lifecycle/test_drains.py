"""What a drain does with each sandbox, what blocks it, and when it is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle.drains import DrainPlan, Verb, plan
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    Allocation,
    AllocationState,
    Condition,
    DesiredState,
    Drain,
    DrainPolicy,
    HostHealth,
    OnDeadline,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
)
from tests.lifecycle.samples import NOW, host, sandbox

RUNNING = SandboxState.RUNNING
UP = host(health=HostHealth.UP)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def drain(
    policy: DrainPolicy = DrainPolicy.DESTROY,
    *,
    deadline: float | None = None,
    on_deadline: OnDeadline = OnDeadline.DESTROY,
) -> Drain:
    return Drain(
        id="DRN-1",
        host_id="HST-1",
        host_name="alpha",
        policy=policy,
        on_deadline=on_deadline,
        actor="ana",
        deadline_at=None if deadline is None else at(deadline),
        started_at=NOW,
    )


def allocation(sandbox_id: str, state: AllocationState = AllocationState.ACTIVE) -> Allocation:
    return Allocation(
        sandbox_id=sandbox_id,
        host_id="HST-1",
        pool="default",
        vcpus=1,
        memory_mb=512,
        storage_mb=1024,
        state=state,
        claimed_at=NOW,
    )


def planned(wish: Drain, *sandboxes: Sandbox, now: datetime = NOW) -> DrainPlan:
    return plan(wish, sandboxes, now, allocations=[allocation(s.id) for s in sandboxes], host=UP)


@pytest.mark.parametrize(
    ("policy", "record", "verb", "due"),
    [
        (DrainPolicy.DESTROY, sandbox(RUNNING), Verb.DESTROY, 0),
        (DrainPolicy.DESTROY, sandbox(SandboxState.ERROR), Verb.DESTROY, 0),
        (DrainPolicy.STOP, sandbox(RUNNING, expires_at=at(60)), Verb.STOP, 60),
        (DrainPolicy.EXPIRE, sandbox(RUNNING, expires_at=at(60)), Verb.WAIT, 60),
        (DrainPolicy.EXPIRE, sandbox(ttl_seconds=60), Verb.WAIT, 660),
        (DrainPolicy.EXPIRE, sandbox(ttl_seconds=60, queued_at=None), Verb.WAIT, 660),
        (
            DrainPolicy.STOP,
            sandbox(RUNNING, desired_state=DesiredState.STOPPED, expires_at=at(60)),
            Verb.WAIT,
            60,
        ),
        (
            DrainPolicy.DESTROY,
            sandbox(RUNNING, desired_state=DesiredState.DESTROYED),
            Verb.WAIT,
            0,
        ),
        (
            DrainPolicy.DESTROY,
            sandbox(SandboxState.STOPPED, desired_state=DesiredState.STOPPED),
            Verb.DESTROY,
            0,
        ),
    ],
)
def test_each_policy_has_its_verb(
    policy: DrainPolicy, record: Sandbox, verb: Verb, due: float
) -> None:
    result = planned(drain(policy), record)
    (action,) = result.actions
    assert (action.verb, action.due_at, action.blocker) == (verb, at(due), None)
    assert (action.sandbox_id, action.sandbox_name, action.agent_id) == ("SBX-1", "box", "agent")
    assert result.eta == at(due)
    assert (result.remaining, result.finished) == (1, False)
    assert result.due == ((action,) if verb in (Verb.STOP, Verb.DESTROY) else ())


@pytest.mark.parametrize(
    ("on_deadline", "verb"),
    [
        (OnDeadline.STOP, Verb.STOP),
        (OnDeadline.DESTROY, Verb.DESTROY),
        (OnDeadline.KEEP, Verb.KEEP),
    ],
)
def test_the_deadline_changes_the_verb(on_deadline: OnDeadline, verb: Verb) -> None:
    wish = drain(DrainPolicy.EXPIRE, deadline=30, on_deadline=on_deadline)
    record = sandbox(RUNNING, expires_at=at(60))
    assert planned(wish, record, now=at(29)).actions[0].verb is Verb.WAIT
    assert planned(wish, record, now=at(30)).actions[0].verb is verb


def test_a_deadline_that_destroys_is_an_end() -> None:
    record = sandbox(RUNNING)
    result = planned(drain(DrainPolicy.EXPIRE, deadline=30), record)
    assert (result.eta, result.blockers) == (at(30), ())
    kept = planned(drain(DrainPolicy.EXPIRE, deadline=30, on_deadline=OnDeadline.KEEP), record)
    assert kept.eta is None


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (sandbox(RUNNING), "running"),
        (sandbox(SandboxState.STOPPED, desired_state=DesiredState.STOPPED), "stopped"),
    ],
)
def test_a_sandbox_without_an_end_blocks(record: Sandbox, word: str) -> None:
    result = planned(drain(DrainPolicy.EXPIRE), record)
    (blocker,) = result.blockers
    assert blocker.startswith("box (SBX-1): no_expiry, ")
    assert word in blocker
    assert result.eta is None


def test_what_is_kept_at_the_deadline_blocks() -> None:
    wish = drain(DrainPolicy.EXPIRE, deadline=30, on_deadline=OnDeadline.KEEP)
    result = planned(wish, sandbox(RUNNING, expires_at=at(60)), now=at(31))
    assert "kept_at_deadline" in result.blockers[0]


@pytest.mark.parametrize(
    ("health", "reason", "words"),
    [
        (HostHealth.DOWN, "no route", "host alpha is DOWN: no route"),
        (HostHealth.UNKNOWN, None, "host alpha is UNKNOWN"),
    ],
)
def test_an_unreachable_host_blocks(health: HostHealth, reason: str | None, words: str) -> None:
    silent = replace(UP, health=health, health_reason=reason)
    result = plan(drain(), [sandbox(RUNNING)], NOW, allocations=(), host=silent)
    assert result.blockers == (f"box (SBX-1): host_unreachable, {words}",)
    assert result.eta is None


def test_an_allocation_without_a_sandbox_here_is_still_something_left() -> None:
    left = allocation("SBX-9", AllocationState.RELEASING)
    result = plan(drain(), [], NOW, allocations=[left], host=UP)
    assert (result.finished, result.remaining, result.eta) == (False, 1, None)
    assert result.blockers == (
        "SBX-9: allocation_releasing, its claim on this host is not released yet",
    )


def test_a_tombstone_is_not_left_over() -> None:
    result = plan(drain(), [sandbox(SandboxState.DESTROYED)], NOW, allocations=(), host=UP)
    assert (result.finished, result.remaining, result.eta) == (True, 0, NOW)


def test_the_oldest_come_first_and_the_last_gives_the_eta() -> None:
    young = sandbox(RUNNING, id="SBX-2", created_at=at(1), expires_at=at(10))
    old = sandbox(RUNNING, id="SBX-3", expires_at=at(90))
    result = planned(drain(DrainPolicy.EXPIRE), young, old)
    assert [action.sandbox_id for action in result.actions] == ["SBX-3", "SBX-2"]
    assert result.eta == at(90)


@given(
    policy=st.sampled_from(DrainPolicy),
    on_deadline=st.sampled_from(OnDeadline),
    deadline=st.none() | st.integers(-10, 10),
    states=st.lists(st.tuples(st.sampled_from(SandboxState), st.sampled_from(DesiredState))),
    holders=st.sets(st.integers(0, 12)),
)
def test_only_an_empty_host_ends_a_drain(
    policy: DrainPolicy,
    on_deadline: OnDeadline,
    deadline: int | None,
    states: list[tuple[SandboxState, DesiredState]],
    holders: set[int],
) -> None:
    sandboxes = [
        sandbox(state, id=f"SBX-{number}", desired_state=desired)
        for number, (state, desired) in enumerate(states)
    ]
    allocations = [allocation(f"SBX-{number}") for number in holders]
    wish = drain(policy, deadline=deadline, on_deadline=on_deadline)
    result = plan(wish, sandboxes, NOW, allocations=allocations, host=UP)
    live = {record.id for record in sandboxes if record.live}
    assert result.finished is not bool(live or allocations)
    assert result.remaining == len(live | {a.sandbox_id for a in allocations})
    assert {action.sandbox_id for action in result.actions} == live


def moving(record: Sandbox, *, failing: str | None = None) -> Sandbox:
    told = (Condition(kind=ConditionKind.FAILING, message=failing or "", since=NOW),)
    return replace(record, move_asked_at=NOW, conditions=told if failing else ())


def ran(number: int, **changes: object) -> Sandbox:
    return sandbox(RUNNING, id=f"SBX-{number}", sandbox_name=f"box-{number}", **changes)


MOVE = drain(DrainPolicy.MOVE)


def test_two_at_a_time_are_moved_and_the_others_wait_their_turn() -> None:
    found = planned(MOVE, *(ran(n) for n in range(4)))
    assert [a.verb for a in found.actions] == [Verb.MOVE, Verb.MOVE, Verb.WAIT, Verb.WAIT]
    assert [a.sandbox_id for a in found.due] == ["SBX-0", "SBX-1"]
    assert (found.blockers, found.eta) == ((), None)
    found = planned(MOVE, moving(ran(0)), moving(ran(1)), ran(2))
    assert [a.verb for a in found.actions] == [Verb.MOVE, Verb.MOVE, Verb.WAIT]
    assert [a.moving for a in found.actions] == [True, True, False]
    assert found.due == ()


def test_who_cannot_go_on_is_a_blocker_and_takes_nobodys_turn() -> None:
    found = planned(MOVE, moving(ran(0), failing="no room"), moving(ran(1)), ran(2))
    assert [a.verb for a in found.actions] == [Verb.MOVE] * 3
    assert found.blockers == ("box-0 (SBX-0): move_failing, no room",)
    assert [a.sandbox_id for a in found.due] == ["SBX-2"]


def test_who_cannot_be_moved_is_a_blocker_unless_that_passes() -> None:
    snapshot = Snapshot(
        id="SNP-1",
        sandbox_id="SBX-1",
        name="clean",
        kind=SnapshotKind.INTERNAL,
        ref="clean",
        created_at=NOW,
        state=SnapshotState.READY,
    )
    records = [
        replace(ran(0), state=SandboxState.ERROR),
        ran(1),
        replace(ran(2), state=SandboxState.STARTING),
        replace(ran(3), desired_state=DesiredState.DESTROYED),
    ]
    found = plan(MOVE, records, NOW, allocations=(), host=UP, snapshots=[snapshot])
    assert [a.verb for a in found.actions] == [Verb.WAIT] * 4
    failed, held = found.blockers
    assert failed.startswith("box-0 (SBX-0): failed, ")
    assert held.startswith("box-1 (SBX-1): has_snapshots, ")
    assert "delete them first" in held


@pytest.mark.parametrize(
    ("on_deadline", "fresh", "going"),
    [
        (OnDeadline.STOP, Verb.STOP, Verb.STOP),
        (OnDeadline.DESTROY, Verb.DESTROY, Verb.DESTROY),
        (OnDeadline.KEEP, Verb.KEEP, Verb.MOVE),
    ],
)
def test_the_deadline_of_a_drain_that_moves(
    on_deadline: OnDeadline, fresh: Verb, going: Verb
) -> None:
    wish = drain(DrainPolicy.MOVE, deadline=10, on_deadline=on_deadline)
    found = planned(wish, ran(0), moving(ran(1)), now=at(10))
    assert [a.verb for a in found.actions] == [fresh, going]
    assert [a.moving for a in found.actions] == [False, going is Verb.MOVE]


def test_one_that_was_stopped_at_the_deadline_moves_on() -> None:
    wish = drain(DrainPolicy.MOVE, deadline=10, on_deadline=OnDeadline.STOP)
    off = replace(moving(ran(0)), desired_state=DesiredState.STOPPED)
    (action,) = planned(wish, off, now=at(10)).actions
    assert (action.verb, action.moving, action.blocker) == (Verb.MOVE, True, None)


def test_a_silent_host_blocks_moves_too() -> None:
    silent = host(health=HostHealth.DOWN)
    found = plan(MOVE, [ran(0)], NOW, allocations=(), host=silent)
    (blocker,) = found.blockers
    assert "host_unreachable" in blocker
    assert found.due == ()
