"""The last unit, second and element decide: what mutants of the rules survived, each in a case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import ConstraintImpossible
from scheduler.lifecycle import layers, outcomes, snapshots
from scheduler.lifecycle.breaker import remembered, tripped
from scheduler.lifecycle.findings import FindingCode
from scheduler.lifecycle.layers import Merge
from scheduler.lifecycle.mark_documents import mark_document, read_mark
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    Condition,
    DrainPolicy,
    HostState,
    ObservedPool,
    ObservedVolume,
    Phase,
    ReplicaState,
    Resources,
    SandboxState,
    SnapshotKind,
    SnapshotState,
    VirtType,
    VolumeRole,
)
from tests.lifecycle.samples import NOW, domain, host, mark, sandbox
from tests.lifecycle.test_audit import (
    BOX,
    BUILT,
    OVERLAY,
    SOUND,
    audit,
    books,
    empty,
    the_finding,
    the_host,
    the_orphan,
    twice,
)
from tests.lifecycle.test_breaker import RULES, ended
from tests.lifecycle.test_drains import drain, planned
from tests.lifecycle.test_layers import volume
from tests.lifecycle.test_mark_documents import volumes
from tests.lifecycle.test_replicas import going, ready
from tests.lifecycle.test_restoration import POOL, orphan, restore, signed
from tests.lifecycle.test_rules import OFF, RUNNING, becomes, judged
from tests.lifecycle.test_snapshots import REVERTING, box, disk, snapshot

MIB = 2**20


def test_the_own_domains_of_a_host_are_not_charged_as_somebody_elses() -> None:
    big = replace(SOUND, vcpus=2, memory_mb=512)
    assert the_host(audit(books(BOX), twice(big))).unmanaged == Resources()
    assert the_host(audit(books(BOX), twice(domain(), domain(uuid="b")))).foreign_domains == 2


@pytest.mark.parametrize(
    ("role", "foreign_mb"),
    [(VolumeRole.OVERLAY, 6), (VolumeRole.LAYER, 6), (VolumeRole.IMAGE, 10), (VolumeRole.DISK, 10)],
)
def test_only_volumes_with_a_claim_are_taken_off_what_a_pool_holds(
    role: VolumeRole, foreign_mb: int
) -> None:
    there = ObservedVolume(name=OVERLAY, path="/p", capacity=1, physical=4 * MIB)
    pool = ObservedPool(name="default", active=True, allocation=10 * MIB, volumes=(there,))
    seen = twice(SOUND)
    assert seen.latest is not None
    seen = replace(seen, latest=replace(seen.latest, pool=pool))
    audited = the_host(audit(books(BOX, volumes=(replace(BUILT, role=role),)), seen))
    assert audited.unmanaged.storage_mb == foreign_mb


def test_what_follows_something_that_is_told_elsewhere_is_told_too() -> None:
    leaving = replace(BUILT, owner="SBX-0", name="sbx-0.qcow2")
    said = books(allocations=(), volumes=(leaving,))
    seen = twice(
        replace(domain(uuid="a", marked=mark("SBX-0", "a")), name="left"),
        replace(domain(uuid="b", marked=mark("SBX-2", "b")), name="strange"),
        volumes=(leaving.name,),
    )
    (found,) = audit(said, seen).orphans
    assert found.sandbox_id == "SBX-2"
    second = replace(BUILT, name="sbx-1-seed.iso", role=VolumeRole.SEED)
    finding = the_finding(audit(books(BOX, volumes=(BUILT, second)), twice(SOUND)))
    assert (finding.code, finding.subject) == (FindingCode.VOLUME_MISSING, second.name)


@pytest.mark.parametrize(("mutated_at", "missing"), [(9.9, 1), (10.0, 0)])
def test_i6_a_listing_that_began_with_our_call_confirms_nothing(
    mutated_at: float, missing: int
) -> None:
    seen = twice(SOUND, volumes=())
    assert len(audit(books(BOX), seen, mutated_at=mutated_at).findings) == missing


def test_a_listing_is_believed_for_the_whole_of_its_time() -> None:
    assert the_host(audit(books(BOX), replace(twice(SOUND), age_seconds=60))).audited


def test_whose_a_volume_may_have_been_is_said_where_it_is_known() -> None:
    id = f"SBX-{'0' * 26}"
    seen = twice(volumes=(f"{id.lower()}.qcow2",))
    known = the_orphan(audit(empty(tombstones={id: NOW - timedelta(1)}), seen))
    assert known.message.endswith(f"no record lists it; it may have been of {id}")
    assert the_orphan(audit(empty(), seen)).message.endswith("no record lists it")


def test_an_image_is_suspected_for_its_own_failures_alone() -> None:
    past = ended("b:x- a:x- a:y- a:y- a:z-")
    assert tripped(past, past[-1], RULES, barred=0, hosts=9) == (None,)


def test_a_failure_is_remembered_to_the_end_of_the_window() -> None:
    (first,) = ended("a:x-")
    at = first.at + timedelta(seconds=RULES.window_seconds)
    last = replace(first, sandbox_id="SBX-9", at=at)
    assert remembered((first,), last, RULES) == (first, last)
    later = replace(last, at=at + timedelta(microseconds=1))
    assert remembered((first,), later, RULES) == (later,)


@pytest.mark.parametrize(("deadline", "due"), [(30, 30), (90, 60)])
def test_a_sandbox_leaves_a_drained_host_by_whichever_end_comes_first(
    deadline: float, due: float
) -> None:
    box = sandbox(SandboxState.RUNNING, expires_at=NOW + timedelta(seconds=60))
    (action,) = planned(drain(DrainPolicy.EXPIRE, deadline=deadline), box).actions
    assert action.due_at == NOW + timedelta(seconds=due)


def test_layers_are_numbered_from_one_and_merge_only_when_they_may() -> None:
    assert layers.new_name("SBX-1", []) == "sbx-1-l1.qcow2"
    base = replace(volume("base", VolumeRole.LAYER, None), name="sbx-1-l1.qcow2")
    assert layers.new_name("SBX-1", [base]) == "sbx-1-l2.qcow2"
    top = volume("top", VolumeRole.OVERLAY, base.name)
    merge = layers.next_action([base, top], [])
    assert merge == Merge(lower=base.name, upper="top", pulls=True)
    assert layers.next_action([base, top], [], merge=False) is None


def test_only_the_live_layer_pulls() -> None:
    """Below it a commit moves less, and no guest is asked."""
    low, mid = volume("a", VolumeRole.LAYER, None), volume("b", VolumeRole.LAYER, "a")
    top = volume("c", VolumeRole.OVERLAY, "b")
    kept = snapshot(SnapshotState.READY, ref="b")
    assert layers.next_action([low, mid, top], [kept]) == Merge(lower="a", upper="b", pulls=False)


@pytest.mark.parametrize("isolation", [False, True])
def test_isolation_is_read_back(isolation: bool) -> None:
    document = mark_document(sandbox(isolation=isolation), volumes(), anti_affinity_group=None)
    assert read_mark(document).isolation is isolation
    del document["isolation"]
    assert read_mark(document).isolation is False


def test_rest_leaves_nothing_of_the_work_behind() -> None:
    paused = Condition(kind=ConditionKind.PAUSED, message="by ana", since=NOW)
    failing = Condition(kind=ConditionKind.FAILING, message="no", since=NOW)
    worked = sandbox(
        phase=Phase.SNAPSHOT, phase_at=NOW, attempts=2, retry_at=NOW, conditions=(failing, paused)
    )
    rested = outcomes.rested(worked, now=NOW + timedelta(seconds=1))
    assert (rested.phase, rested.attempts, rested.retry_at) == (None, 0, None)
    assert rested.conditions == (paused,)
    assert rested.updated_at == NOW + timedelta(seconds=1)


def test_all_replicas_of_a_host_are_looked_at() -> None:
    removing = ready(0, state=ReplicaState.REMOVING)
    assert going(removing, ready(1), ready(2), limit_mb=10) == ["IMG-1"]
    assert going(ready(0), ready(1), limit_mb=99, state=HostState.DRAINED) == ["IMG-0", "IMG-1"]


@pytest.mark.parametrize(
    ("roles", "times"),
    [
        (("overlay", "seed"), 1),
        (("overlay", "layer", "layer", "seed"), 3),
        (("seed",), 1),
    ],
)
def test_a_restored_claim_holds_every_layer(roles: tuple[str, ...], times: int) -> None:
    listed = {f"sbx-1-{number}": role for number, role in enumerate(roles)}
    claim = restore(orphan(marked=signed(volumes=listed))).claim
    assert claim.storage_mb == times * 1024


def test_a_restored_layer_lies_on_what_it_says_if_that_is_ours() -> None:
    low, top = "sbx-1.qcow2", "sbx-1-l1.qcow2"
    there = (
        ObservedVolume(name=top, path=f"/p/{top}", capacity=1, physical=1, backing=f"/p/{low}"),
        ObservedVolume(name=low, path=f"/p/{low}", capacity=1, physical=1, backing="/p/debian"),
    )
    marked = signed(volumes={low: "layer", top: "overlay"})
    back = restore(orphan(marked=marked), replace(POOL, volumes=there)).volumes
    assert {one.name: one.backing for one in back} == {low: None, top: low}


def test_a_start_says_what_there_is_to_do() -> None:
    stopped = sandbox(SandboxState.STOPPED)
    assert becomes(judged(stopped, RUNNING)).reason_message == "the domain runs already"
    assert becomes(judged(stopped, OFF)).reason_message == "the domain is there; starting it"


def test_a_stop_that_was_taken_back_costs_the_address() -> None:
    late = sandbox(SandboxState.RUNNING, phase=Phase.STOP, phase_at=NOW, ip_address="10.0.0.5")
    step = becomes(judged(late, OFF))
    assert (step.state, step.address_lost) == (SandboxState.STARTING, True)


def test_one_revert_among_many_points_replaces_a_layer() -> None:
    ready = snapshot(SnapshotState.READY)
    three = [disk("a"), disk("b"), disk("c")]
    assert snapshots.storage_due(box(storage_mb=1000), [ready, REVERTING], three) == 2000


@pytest.mark.parametrize(("claim_mb", "holds"), [(0, False), (1, True)])
def test_a_snapshot_holds_something_while_it_claims_room(claim_mb: int, *, holds: bool) -> None:
    assert snapshots.holds_something(snapshot(SnapshotState.FAILED, claim_mb=claim_mb)) is holds


def test_the_first_libvirt_with_layers_will_do_and_an_odd_version_will_not() -> None:
    real = host(proven_virt_type=VirtType.KVM, libvirt_version="6.0.0")
    snapshots.check_able(real, SnapshotKind.EXTERNAL)
    with pytest.raises(ConstraintImpossible, match=r"its libvirt is 9\.x"):
        snapshots.check_able(replace(real, libvirt_version="9.x"), SnapshotKind.EXTERNAL)


def test_work_after_a_revert_is_counted_from_nothing() -> None:
    tried = box(attempts=3, retry_at=NOW)
    assert snapshots.reverted(tried, REVERTING, NOW).attempts == 0
