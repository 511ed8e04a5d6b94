"""A marked domain gets back the records it had; its state is what is seen, its lease is whole."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import Conflict, Invalid
from scheduler.lifecycle.mark_documents import mark_document
from scheduler.lifecycle.restoration import (
    LEAST_LEASE_SECONDS,
    Found,
    Restoration,
    doomed,
    lease_after,
    left_behind,
    restored,
    rightful,
)
from scheduler.model import (
    AllocationState,
    DesiredState,
    DomainState,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    Overhead,
    Sandbox,
    SandboxState,
    StateReason,
    VolumeRole,
    VolumeState,
)
from tests.lifecycle.samples import NOW, domain, host, mark, sandbox
from tests.lifecycle.test_mark_documents import volumes

HOST = host(pool="fast")
POOL = ObservedPool(
    name="fast",
    active=True,
    volumes=(ObservedVolume(name="sbx-1.qcow2", path="/p", capacity=1, physical=1),),
)
LOST = sandbox(
    SandboxState.RUNNING,
    labels={"team": "a"},
    ttl_seconds=86400,
    mac="52:54:00:00:00:01",
    base_fingerprint="qcow2:1:1:-",
)


def signed(lost: Sandbox = LOST, **changes: object) -> Mark:
    document = {**mark_document(lost, volumes(), anti_affinity_group="db"), **changes}
    return replace(mark(), text=json.dumps(document))


def orphan(state: DomainState = DomainState.RUNNING, marked: Mark | None = None) -> ObservedDomain:
    return domain(state, marked=marked or signed())


def restore(found: ObservedDomain, pool: ObservedPool | None = POOL) -> Restoration:
    return restored(found, HOST, pool, overhead=Overhead(), now=NOW)


def test_the_sandbox_is_who_it_was() -> None:
    back = restore(orphan()).sandbox
    kept = {field for field in mark_document(LOST, volumes()) if hasattr(LOST, field)}
    assert {"agent_id", "mac", "created_at", "labels", "ttl_seconds"} <= kept
    assert back.id == LOST.id
    for field in kept:
        assert getattr(back, field) == getattr(LOST, field), field
    assert (back.host_id, back.host_name, back.host_address) == (HOST.id, HOST.name, HOST.address)
    assert back.reason_code == "restored"


def test_the_claim_holds_what_was_claimed_overhead_and_group_included() -> None:
    claim = restore(orphan()).claim
    overhead = Overhead().of(LOST.vcpus, LOST.memory_mb)
    assert (claim.sandbox_id, claim.host_id, claim.pool) == ("SBX-1", HOST.id, "fast")
    assert (claim.vcpus, claim.memory_mb, claim.storage_mb) == (1, 512 + overhead, 1024)
    assert (claim.state, claim.anti_affinity_group) == (AllocationState.ACTIVE, "db")


def test_only_volumes_that_are_there_count_as_created() -> None:
    seed, overlay = restore(orphan()).volumes
    assert (overlay.role, overlay.state) == (VolumeRole.OVERLAY, VolumeState.CREATED)
    assert (seed.role, seed.state) == (VolumeRole.SEED, VolumeState.PLANNED)
    assert {v.owner for v in (seed, overlay)} == {"SBX-1"}


@pytest.mark.parametrize(
    ("seen", "state", "desired"),
    [
        (DomainState.RUNNING, SandboxState.STARTING, DesiredState.RUNNING),
        (DomainState.PAUSED, SandboxState.STARTING, DesiredState.RUNNING),
        (DomainState.SHUT_OFF, SandboxState.STOPPED, DesiredState.STOPPED),
        (DomainState.SHUTTING_DOWN, SandboxState.STARTING, DesiredState.STOPPED),
        (DomainState.CRASHED, SandboxState.ERROR, DesiredState.RUNNING),
    ],
)
def test_the_state_follows_what_is_seen(
    seen: DomainState, state: SandboxState, desired: DesiredState
) -> None:
    back = restore(orphan(seen)).sandbox
    assert (back.state, back.desired_state) == (state, desired)


def test_i10_the_lease_begins_anew_and_never_ends_within_the_hour() -> None:
    assert restore(orphan()).sandbox.expires_at == NOW + timedelta(days=1)
    assert lease_after(60, NOW) == NOW + timedelta(seconds=LEAST_LEASE_SECONDS)
    assert lease_after(None, NOW) is None


def test_what_is_restored_to_be_reaped_wants_only_that() -> None:
    doom = doomed(restore(orphan()))
    assert doom.sandbox.desired_state is DesiredState.DESTROYED
    assert doom.claim == restore(orphan()).claim


def test_what_a_destroyed_sandbox_left_is_what_its_mark_lists() -> None:
    left = left_behind(orphan(), HOST, NOW)
    assert [(v.owner, v.pool, v.name) for v in left] == [
        ("SBX-1", "fast", "sbx-1-seed.iso"),
        ("SBX-1", "fast", "sbx-1.qcow2"),
    ]
    with pytest.raises(Invalid, match="not ours"):
        left_behind(domain(), HOST, NOW)


def test_a_domain_without_a_mark_is_not_ours() -> None:
    with pytest.raises(Invalid, match="not ours"):
        restore(domain())


@pytest.mark.parametrize(
    "pool",
    [None, replace(POOL, active=False)],
    ids=["no pool", "inactive"],
)
def test_volumes_that_cannot_be_reached_are_not_taken_over(pool: ObservedPool | None) -> None:
    with pytest.raises(Conflict, match="pool fast"):
        restore(orphan(), pool)


def test_volumes_in_another_pool_than_the_host_s_are_not_taken_over() -> None:
    other = host(pool="slow")
    with pytest.raises(Conflict) as refused:
        restored(orphan(), other, POOL, overhead=Overhead(), now=NOW)
    assert refused.value.details == {"pool": "fast", "configured_pool": "slow"}


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": {"base.qcow2": "overlay"}},
        {"volumes": {}},
        {"volumes": {"sbx-1.qcow2": "layer of another version"}},
        {"created_at": "yesterday"},
        {"on_expire": "explode"},
    ],
    ids=["another's volume", "none", "role", "time", "on_expire"],
)
def test_a_mark_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Invalid, match="mark of domain"):
        restore(orphan(marked=signed(LOST, **changes)))


def seen_on(host_id: str, state: DomainState, sandbox_id: str = "SBX-1") -> Found:
    return Found(host_id=host_id, domain=domain(state, marked=mark(sandbox_id)))


def test_of_several_copies_the_only_active_one_is_the_sandbox() -> None:
    off, on = seen_on("HST-1", DomainState.SHUT_OFF), seen_on("HST-2", DomainState.RUNNING)
    assert rightful([off, on]) == ({"SBX-1": on}, {})


def test_one_copy_is_the_sandbox_whatever_its_state() -> None:
    off = seen_on("HST-1", DomainState.SHUT_OFF)
    unmarked = Found(host_id="HST-1", domain=domain(DomainState.RUNNING, StateReason.USER))
    assert rightful([off, unmarked]) == ({"SBX-1": off}, {})


@pytest.mark.parametrize("state", [DomainState.RUNNING, DomainState.SHUT_OFF, DomainState.CRASHED])
def test_between_equal_copies_only_an_operator_can_choose(state: DomainState) -> None:
    copies = [seen_on("HST-1", state), seen_on("HST-2", state)]
    other = seen_on("HST-1", state, "SBX-2")
    assert rightful([*copies, other]) == ({"SBX-2": other}, {"SBX-1": copies})
