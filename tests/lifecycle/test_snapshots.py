"""Which step a snapshot under way takes, what it costs, which hosts can make one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import ConstraintImpossible
from scheduler.lifecycle import drift, snapshots
from scheduler.lifecycle.sightings import Absent, Present, Seen, Unknown
from scheduler.lifecycle.steps import (
    Become,
    ConditionKind,
    Discard,
    Freeze,
    GiveUp,
    Limits,
    Note,
    PowerOff,
    Revert,
    ShutDown,
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
    Snapshot,
    SnapshotKind,
    SnapshotState,
    StateReason,
    VirtType,
    Volume,
    VolumeRole,
)
from tests.lifecycle.samples import NOW, domain, host, mark, sandbox

UP, DOWN, GONE = DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.DESTROYED
INTERNAL, EXTERNAL = SnapshotKind.INTERNAL, SnapshotKind.EXTERNAL
RUNS = (DomainState.RUNNING, StateReason.OTHER)
OFF = (DomainState.SHUT_OFF, StateReason.OTHER)
PAUSED = (DomainState.PAUSED, StateReason.USER)
FULL = (DomainState.PAUSED, StateReason.IO_ERROR)
PASSING = (DomainState.PAUSED, StateReason.TRANSIENT)


def snapshot(state: SnapshotState, **changes: object) -> Snapshot:
    given: dict[str, object] = {
        "id": "SNP-1",
        "sandbox_id": "SBX-1",
        "name": "one",
        "kind": EXTERNAL,
        "ref": "a",
        "created_at": NOW,
        "state": state,
    }
    return Snapshot(**{**given, **changes})  # type: ignore[arg-type]


CREATING = snapshot(SnapshotState.CREATING)
REVERTING = snapshot(SnapshotState.REVERTING)
DELETING = snapshot(SnapshotState.DELETING)


def box(
    desired: DesiredState = UP, state: SandboxState = SandboxState.RUNNING, **changes: object
) -> Sandbox:
    return sandbox(desired_state=desired, state=state, **changes)


def seen(state: DomainState, reason: StateReason) -> Seen:
    return Present(domain=domain(state, reason, marked=mark()))


def judged(one: Sandbox, what: Seen, pending: Snapshot) -> Step:
    return drift.judge(one, what, now=NOW, limits=Limits(), snapshot=pending)


@pytest.mark.parametrize("look", [RUNS, OFF])
def test_steps_of_a_domain_that_is_steady(look: tuple[DomainState, StateReason]) -> None:
    assert judged(box(), seen(*look), CREATING) == Freeze(snapshot_id="SNP-1")
    assert judged(box(), seen(*look), REVERTING) == Revert(snapshot_id="SNP-1")
    rests = box() if look == RUNS else box(DOWN, SandboxState.STOPPED)
    assert judged(rests, seen(*look), DELETING) == Discard(snapshot_id="SNP-1")


def test_a_guest_that_ended_is_told_of_before_its_layers_merge() -> None:
    """Else the domain that is started for the merge would be taken for the guest."""
    crashed = (DomainState.CRASHED, StateReason.CRASHED)
    for look, told in ((OFF, "host_restarted"), (crashed, "guest_crashed")):
        step = judged(box(), seen(*look), DELETING)
        assert isinstance(step, Become)
        assert (step.state, step.reason_code) == (SandboxState.ERROR, told)


def test_a_domain_that_is_gone_takes_what_it_alone_knew_of_with_it() -> None:
    failed = box(state=SandboxState.ERROR)
    inside = replace(REVERTING, kind=SnapshotKind.INTERNAL)
    why = "the domain is not on its host any more"
    assert judged(failed, Absent(), inside) == GiveUp(snapshot_id="SNP-1", message=why)
    layered = replace(REVERTING, kind=SnapshotKind.EXTERNAL)
    assert judged(failed, Absent(), layered) == Revert(snapshot_id="SNP-1")


def test_nothing_goes_before_the_end_of_a_sandbox() -> None:
    assert judged(box(GONE), seen(*RUNS), REVERTING) == TearDown()


def test_what_passes_is_waited_for() -> None:
    for pending in (CREATING, REVERTING, DELETING):
        assert isinstance(judged(box(), seen(*PASSING), pending), Wait)
        assert isinstance(judged(box(), Unknown(reason="?"), pending), Wait)
    shutting = seen(DomainState.SHUTTING_DOWN, StateReason.OTHER)
    assert isinstance(judged(box(), shutting, CREATING), Wait)
    assert isinstance(judged(box(), shutting, DELETING), Wait)


@pytest.mark.parametrize(
    ("one", "what", "pending", "why"),
    [
        (box(), seen(*PAUSED), CREATING, "the domain is paused"),
        (box(), seen(*FULL), CREATING, "the domain is storage full"),
        (box(), Absent(), CREATING, "the domain is absent"),
        (box(), seen(*OFF), replace(CREATING, memory=True), "the guest ended before"),
        (
            box(state=SandboxState.ERROR, reason_message="it broke"),
            seen(*OFF),
            CREATING,
            "the sandbox failed meanwhile: it broke",
        ),
        (box(state=SandboxState.ERROR), Absent(), DELETING, "not on its host any more"),
    ],
)
def test_what_cannot_be_done_is_given_up(
    one: Sandbox, what: Seen, pending: Snapshot, why: str
) -> None:
    step = judged(one, what, pending)
    assert isinstance(step, GiveUp)
    assert why in step.message


def test_what_failed_is_taken_back_after_a_pause() -> None:
    failed = replace(CREATING, reason="no room")
    assert judged(box(), seen(*RUNS), failed) == Discard(snapshot_id="SNP-1")
    later = NOW + timedelta(seconds=2)
    pausing = box(phase=Phase.SNAPSHOT, attempts=9, retry_at=later)
    assert isinstance(judged(pausing, seen(*RUNS), failed), Wait)


def test_tries_are_bounded_and_paused() -> None:
    tried = box(phase=Phase.REVERT, attempts=2, retry_at=NOW + timedelta(seconds=2))
    assert isinstance(judged(tried, seen(*RUNS), REVERTING), Wait)
    due = replace(tried, retry_at=NOW)
    assert judged(due, seen(*RUNS), REVERTING) == Revert(snapshot_id="SNP-1")
    failing = Condition(kind=ConditionKind.FAILING, message="full", since=NOW)
    for conditions, why in (((failing,), "full"), ((), "it failed")):
        over = replace(tried, attempts=snapshots.TRIES, conditions=conditions)
        assert judged(over, seen(*RUNS), REVERTING) == GiveUp(snapshot_id="SNP-1", message=why)
    refused = replace(tried, phase=Phase.SNAPSHOT, attempts=snapshots.TRIES + 1)
    assert isinstance(judged(refused, seen(*RUNS), DELETING), Wait)
    due = replace(refused, retry_at=NOW)
    assert isinstance(judged(due, seen(*RUNS), DELETING), GiveUp)


def test_a_deletion_goes_on_where_a_merge_has_paused_the_domain() -> None:
    stopped = box(DOWN, SandboxState.STOPPED, phase=Phase.SNAPSHOT)
    assert isinstance(judged(stopped, seen(*PAUSED), DELETING), Discard)
    assert isinstance(judged(replace(stopped, phase=None), seen(*PAUSED), DELETING), PowerOff)
    assert isinstance(judged(box(), seen(*FULL), DELETING), Discard)
    assert isinstance(judged(box(), seen(*PAUSED), DELETING), Note)
    assert isinstance(judged(box(), Absent(), DELETING), Become)


def test_a_stop_waits_for_what_is_under_way() -> None:
    leaving = box(DOWN)
    assert isinstance(judged(leaving, seen(*RUNS), CREATING), Freeze)
    assert isinstance(
        drift.judge(leaving, seen(*RUNS), now=NOW, limits=Limits(), snapshot=None), ShutDown
    )


def test_what_is_claimed() -> None:
    one = box(storage_mb=1000, memory_mb=300)
    assert snapshots.claim_of(one, EXTERNAL, memory=False) == 1000
    assert snapshots.claim_of(one, INTERNAL, memory=False) == 1000
    assert snapshots.claim_of(one, INTERNAL, memory=True) == 1300
    inside = snapshot(SnapshotState.READY, kind=INTERNAL, claim_mb=1300)
    assert snapshots.storage_due(one, [inside, inside], [disk("a")]) == 3600
    layers = [disk("a"), disk("b"), disk("c")]
    ready = snapshot(SnapshotState.READY)
    assert snapshots.storage_due(one, [ready], layers) == 3000
    assert snapshots.storage_due(one, [REVERTING], layers) == 2000
    assert snapshots.storage_due(one, [], []) == 1000


def test_a_guest_runs_after_a_revert_if_it_was_to_or_its_memory_was_kept() -> None:
    stopped = box(DOWN, SandboxState.STOPPED, ip_address="10.0.0.1")
    off = snapshots.reverted(stopped, REVERTING, NOW)
    assert (off.state, off.desired_state, off.ip_address) == (SandboxState.STOPPED, DOWN, None)
    on = snapshots.reverted(stopped, replace(REVERTING, memory=True), NOW)
    assert (on.state, on.desired_state, on.queued_at) == (SandboxState.STARTING, UP, NOW)
    assert snapshots.reverted(box(), REVERTING, NOW).state is SandboxState.STARTING


def test_which_hosts_can_freeze_disks() -> None:
    real = replace(host(), proven_virt_type=VirtType.KVM, libvirt_version="9.0.0")
    snapshots.check_able(real, EXTERNAL)
    simulated = replace(real, proven_virt_type=VirtType.TEST)
    snapshots.check_able(simulated, INTERNAL)
    for unable, why in (
        (simulated, "simulation"),
        (replace(real, libvirt_version="5.10.0"), "its libvirt is 5"),
        (replace(real, libvirt_version=None), "its libvirt is None"),
    ):
        with pytest.raises(ConstraintImpossible, match=why):
            snapshots.check_able(unable, EXTERNAL)


def test_which_sandboxes_rest() -> None:
    assert snapshots.may_begin(box(), failed_too=False)
    assert snapshots.may_begin(box(DOWN, SandboxState.STOPPED), failed_too=False)
    broken = box(state=SandboxState.ERROR)
    assert not snapshots.may_begin(broken, failed_too=False)
    assert snapshots.may_begin(broken, failed_too=True)
    assert not snapshots.may_begin(box(DOWN), failed_too=True)
    assert not snapshots.may_begin(box(move_asked_at=NOW), failed_too=True)
    assert snapshots.under_way([snapshot(SnapshotState.READY), DELETING]) is DELETING
    assert snapshots.under_way([]) is None


def disk(name: str) -> Volume:
    return Volume(
        owner="SBX-1",
        host_id="HST-1",
        pool="default",
        name=name,
        role=VolumeRole.LAYER,
        created_at=NOW,
    )
