"""The audit tells what does not add up and holds its tongue about what is on its way."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from scheduler.lifecycle.audit import compare
from scheduler.lifecycle.books import Books, Witnesses
from scheduler.lifecycle.findings import Comparison, Finding, FindingCode, HostAudit, Orphan
from scheduler.lifecycle.orphans import OrphanCode, OrphanKind
from scheduler.model import (
    Allocation,
    AllocationState,
    DesiredState,
    HostResources,
    Inventory,
    ObservedDomain,
    Phase,
    Resources,
    Sandbox,
    SandboxState,
    Volume,
    VolumeRole,
    VolumeState,
)
from tests.lifecycle.samples import NOW, UUID, domain, host, listing, mark, sandbox

OVERLAY = "sbx-1.qcow2"
ALPHA = host(limit_cpus=8, limit_memory_mb=8192, limit_storage_mb=8192)
BOX = sandbox(SandboxState.RUNNING)
CLAIM = Allocation(
    sandbox_id="SBX-1",
    host_id="HST-1",
    pool="default",
    vcpus=1,
    memory_mb=1,
    storage_mb=1,
    claimed_at=NOW,
)
BUILT = Volume(
    owner="SBX-1",
    host_id="HST-1",
    pool="default",
    name=OVERLAY,
    role=VolumeRole.OVERLAY,
    state=VolumeState.CREATED,
    created_at=NOW,
)
SOUND = replace(domain(marked=mark()), name="box")


def books(
    *boxes: Sandbox,
    hosts: Sequence[HostResources] = (ALPHA,),
    allocations: Sequence[Allocation] = (CLAIM,),
    volumes: Sequence[Volume] = (BUILT,),
    tombstones: Mapping[str, datetime] | None = None,
) -> Books:
    return Books(
        hosts=hosts,
        sandboxes={box.id: box for box in boxes},
        allocations=allocations,
        volumes={"HST-1": volumes},
        tombstones=tombstones or {},
    )


def twice(*domains: ObservedDomain, volumes: tuple[str, ...] = (OVERLAY,)) -> Witnesses:
    return Witnesses(
        latest=listing(*domains, begun_at=20, volumes=volumes),
        previous=listing(*domains, begun_at=10, volumes=volumes),
        age_seconds=3,
    )


def audit(
    said: Books, seen: Witnesses | None = None, *, mutated_at: float | None = None
) -> Comparison:
    witnesses = {} if seen is None else {"HST-1": seen}
    return compare(said, witnesses, mutated_at=lambda _: mutated_at, stale_after_seconds=60)


def the_finding(comparison: Comparison) -> Finding:
    assert comparison.orphans == ()
    (finding,) = comparison.findings
    assert finding.remedy
    return finding


def the_orphan(comparison: Comparison) -> Orphan:
    assert comparison.findings == ()
    (orphan,) = comparison.orphans
    assert orphan.remedy
    return orphan


def the_host(comparison: Comparison) -> HostAudit:
    (one,) = comparison.hosts
    return one


def empty(**changes: object) -> Books:
    return books(allocations=(), volumes=(), **changes)  # type: ignore[arg-type]


def test_what_adds_up_is_clean() -> None:
    comparison = audit(books(BOX), twice(SOUND))
    assert (comparison.findings, comparison.orphans) == ((), ())
    seen = the_host(comparison)
    assert (seen.audited, seen.reason, seen.age_seconds) == (True, None, 3)
    assert (seen.domains, seen.foreign_domains, seen.unmanaged) == (1, 0, Resources())


def test_i2_a_sandbox_needs_its_allocation() -> None:
    finding = the_finding(audit(books(BOX, allocations=(), volumes=()), twice(volumes=())))
    assert (finding.code, finding.sandbox_id) == (FindingCode.ALLOCATION_MISSING, "SBX-1")


@pytest.mark.parametrize(("named", "told"), [("zeta", "zeta"), (None, "HST-9")])
def test_i2_a_sandbox_is_not_on_a_host_that_left_the_fleet(named: str | None, told: str) -> None:
    stray = sandbox(host_id="HST-9", host_name=named)
    finding = the_finding(audit(books(stray, allocations=(), volumes=()), twice(volumes=())))
    assert (finding.code, finding.host_id) == (FindingCode.ALLOCATION_MISSING, "HST-9")
    assert (finding.host_name, finding.remedy) == (
        told,
        "let go of it: sandboxctl forget SBX-1",
    )


def test_i2_an_allocation_needs_its_sandbox() -> None:
    finding = the_finding(audit(books(volumes=()), twice(volumes=())))
    assert (finding.code, finding.sandbox_id) == (FindingCode.ALLOCATION_UNOWNED, "SBX-1")


def test_a_sandbox_without_a_host_has_nothing_to_account_for() -> None:
    waiting = sandbox(host_id=None)
    assert audit(books(waiting, allocations=(), volumes=()), twice(volumes=())).findings == ()


def test_i1_a_limit_below_what_is_reserved_is_told() -> None:
    shrunk = replace(ALPHA, reserved_cpus=9)
    finding = the_finding(audit(books(BOX, hosts=(shrunk,)), twice(SOUND)))
    assert finding.code is FindingCode.OVERCOMMITTED
    assert "9 CPUs" in finding.message


def test_i6_a_domain_is_missing_when_two_listings_lack_it() -> None:
    finding = the_finding(audit(books(BOX), twice()))
    assert (finding.code, finding.subject) == (FindingCode.DOMAIN_MISSING, UUID)


@pytest.mark.parametrize(
    ("seen", "mutated_at"),
    [
        (Witnesses(latest=listing(begun_at=20, volumes=(OVERLAY,))), None),
        (twice(), 15.0),
        (twice(), float("inf")),
    ],
    ids=["one listing", "our call ended between them", "our call is in flight"],
)
def test_i6_less_than_that_is_no_finding(seen: Witnesses, mutated_at: float | None) -> None:
    assert audit(books(BOX), seen, mutated_at=mutated_at).findings == ()


@pytest.mark.parametrize(
    "box",
    [
        replace(BOX, desired_state=DesiredState.DESTROYED),
        replace(BOX, phase=Phase.BUILD),
        replace(BOX, host_id="HST-2"),
    ],
    ids=["being destroyed", "being built", "elsewhere"],
)
def test_what_is_on_its_way_is_no_finding(box: Sandbox) -> None:
    assert FindingCode.DOMAIN_MISSING not in codes(audit(books(box), twice()))


def test_what_was_never_built_is_not_missing() -> None:
    planned = replace(BUILT, state=VolumeState.PLANNED)
    assert audit(books(BOX, volumes=(planned,)), twice(volumes=())).findings == ()


def codes(comparison: Comparison) -> list[str]:
    return [one.code for one in comparison.findings]


def test_a_domain_with_our_uuid_and_no_mark_is_told() -> None:
    finding = the_finding(audit(books(BOX), twice(domain())))
    assert finding.code is FindingCode.FOREIGN_DOMAIN


def test_a_renamed_domain_is_told_and_not_missed() -> None:
    finding = the_finding(audit(books(BOX), twice(replace(SOUND, name="mine"))))
    assert finding.code is FindingCode.DOMAIN_RENAMED


def test_a_missing_volume_is_told() -> None:
    finding = the_finding(audit(books(BOX), twice(SOUND, volumes=())))
    assert (finding.code, finding.subject) == (FindingCode.VOLUME_MISSING, OVERLAY)


REPLICA = replace(BUILT, owner="IMG-1", name=f"image-{'0' * 64}", role=VolumeRole.IMAGE)


def test_a_missing_replica_is_told_and_one_that_is_there_is_not() -> None:
    listed = books(BOX, volumes=(BUILT, REPLICA))
    finding = the_finding(audit(listed, twice(SOUND)))
    assert (finding.code, finding.subject) == (FindingCode.VOLUME_MISSING, REPLICA.name)
    assert "sandboxctl image evict IMG-1" in (finding.remedy or "")
    there = audit(listed, twice(SOUND, volumes=(OVERLAY, REPLICA.name)))
    assert (there.findings, there.orphans) == ((), ())
    planned = replace(REPLICA, state=VolumeState.PLANNED)
    assert audit(books(BOX, volumes=(BUILT, planned)), twice(SOUND)).findings == ()


def test_a_volume_named_like_a_replica_that_nobody_lists_is_an_orphan() -> None:
    strange = (OVERLAY, REPLICA.name, "image-of-somebody-else")
    (orphan,) = audit(books(BOX), twice(SOUND, volumes=strange)).orphans
    assert (orphan.code, orphan.name) == (OrphanCode.UNLISTED_VOLUME, REPLICA.name)


def test_a_volume_missing_once_or_since_our_call_is_not() -> None:
    once = Witnesses(
        latest=listing(SOUND, begun_at=20), previous=listing(SOUND, volumes=(OVERLAY,))
    )
    assert audit(books(BOX), once).findings == ()
    assert audit(books(BOX), replace(once, previous=None)).findings == ()
    assert audit(books(BOX), twice(SOUND, volumes=()), mutated_at=15.0).findings == ()


@pytest.mark.parametrize("pool", ["none", "inactive"])
def test_without_its_pool_a_host_is_audited_in_part(pool: str) -> None:
    def without(inventory: Inventory) -> Inventory:
        assert inventory.pool is not None
        gone = None if pool == "none" else replace(inventory.pool, active=False, volumes=())
        return replace(inventory, pool=gone)

    seen = twice(SOUND)
    assert seen.latest is not None
    assert seen.previous is not None
    blind = replace(seen, latest=without(seen.latest), previous=without(seen.previous))
    comparison = audit(books(BOX), blind)
    assert comparison.findings == ()
    assert "pool default is not active" in str(the_host(comparison).reason)


def test_what_is_left_of_a_destroyed_sandbox_is_told_while_it_is_removed() -> None:
    said = books(allocations=(), tombstones={"SBX-1": NOW - timedelta(days=1)})
    for seen in (twice(), twice(SOUND)):
        finding = the_finding(audit(said, seen))
        assert (finding.code, finding.sandbox_id) == (FindingCode.LEFTOVER, "SBX-1")


def test_a_marked_domain_without_a_record_may_be_adopted_or_reaped() -> None:
    orphan = the_orphan(audit(empty(), twice(SOUND, volumes=())))
    assert (orphan.code, orphan.kind) == (OrphanCode.NO_RECORD, OrphanKind.DOMAIN)
    assert (orphan.verbs, orphan.healable) == (("adopt", "reap"), False)
    assert (orphan.domain_uuid, orphan.sandbox_id) == (UUID, "SBX-1")


def test_a_tombstoned_domain_may_be_healed() -> None:
    said = empty(tombstones={"SBX-1": NOW - timedelta(seconds=1)})
    orphan = the_orphan(audit(said, twice(SOUND, volumes=())))
    assert (orphan.code, orphan.verbs) == (OrphanCode.TOMBSTONED, ("reap",))
    assert orphan.healable


def test_what_was_buried_since_the_listing_is_no_orphan() -> None:
    name = f"sbx-{'0' * 26}.qcow2"
    said = empty(tombstones={"SBX-1": NOW, f"SBX-{'0' * 26}": NOW})
    assert audit(said, twice(SOUND, volumes=(name,))).orphans == ()


def test_a_copy_on_another_host_is_told_and_left() -> None:
    elsewhere = replace(BOX, host_id="HST-2")
    there = replace(CLAIM, host_id="HST-2")
    said = books(
        elsewhere,
        hosts=(ALPHA, replace(ALPHA, id="HST-2")),
        allocations=(there,),
        volumes=(),
    )
    orphan = audit(said, twice(SOUND, volumes=())).orphans[0]
    assert (orphan.code, orphan.verbs) == (OrphanCode.STRAY_COPY, ("reap",))


BETA = replace(ALPHA, id="HST-2", name="beta")


def beside(domain_there: ObservedDomain, *claims: Allocation) -> Comparison:
    """Return the audit of a sandbox that its host lacks, and of a domain of its UUID on beta."""
    said = books(BOX, hosts=(ALPHA, BETA), allocations=(CLAIM, *claims))
    seen = {"HST-1": twice(), "HST-2": twice(domain_there, volumes=())}
    return compare(said, seen, mutated_at=lambda _: None, stale_after_seconds=60)


def test_one_that_its_host_lacks_and_another_has_is_to_be_adopted_there() -> None:
    found = beside(SOUND)
    (missing,) = found.findings
    assert f"sandboxctl orphan adopt beta {UUID}" in missing.remedy
    (copy,) = found.orphans
    assert (copy.code, copy.verbs) == (OrphanCode.STRAY_COPY, ("adopt", "reap"))
    assert "before a move" in copy.remedy


@pytest.mark.parametrize(
    ("there", "claims"),
    [
        (SOUND, (replace(CLAIM, host_id="HST-2", state=AllocationState.RELEASING),)),
        (domain(), ()),
        (domain(marked=mark(sandbox_id="SBX-2")), ()),
    ],
    ids=["it is being cleared there", "it is somebody else's", "it is another sandbox's"],
)
def test_what_is_not_it_is_nothing_to_adopt(
    there: ObservedDomain, claims: tuple[Allocation, ...]
) -> None:
    (missing,) = beside(there, *claims).findings
    assert "adopt" not in missing.remedy


def test_i5_a_forged_mark_is_told_and_left() -> None:
    orphan = the_orphan(audit(empty(), twice(domain(forged=True), volumes=())))
    assert (orphan.code, orphan.verbs, orphan.sandbox_id) == (OrphanCode.FORGED_MARK, (), None)


def test_what_is_condemned_is_counted_as_what_others_use() -> None:
    there = listing(begun_at=20, volumes=(OVERLAY,))
    assert there.pool is not None
    used = replace(there.pool.volumes[0], physical=7 * 2**20)
    pool = replace(there.pool, allocation=7 * 2**20, volumes=(used,))
    seen = Witnesses(latest=replace(there, pool=pool), age_seconds=3)
    said = books(tombstones={"SBX-1": NOW}, allocations=())
    assert the_host(audit(said, seen)).unmanaged == Resources(storage_mb=7)
    lives = books(BOX)
    assert the_host(audit(lives, seen)).unmanaged == Resources()


def test_i5_foreign_domains_are_counted_and_not_told_of() -> None:
    comparison = audit(empty(), twice(replace(domain(), vcpus=3, memory_mb=512), volumes=()))
    assert (comparison.findings, comparison.orphans) == ((), ())
    seen = the_host(comparison)
    assert (seen.domains, seen.foreign_domains) == (1, 1)
    assert seen.unmanaged == Resources(vcpus=3, memory_mb=512)


@pytest.mark.parametrize(
    ("name", "tombstones", "whose"),
    [
        ("sbx-precious.img", {}, None),
        (f"sbx-{'0' * 26}-seed.iso", {}, None),
        (f"sbx-{'0' * 26}.qcow2", {f"SBX-{'0' * 26}": NOW - timedelta(1)}, f"SBX-{'0' * 26}"),
    ],
    ids=["a stranger's", "unknown", "of a destroyed one"],
)
def test_i5_a_volume_named_like_ours_is_told_and_left(
    name: str, tombstones: dict[str, datetime], whose: str | None
) -> None:
    orphan = the_orphan(audit(empty(tombstones=tombstones), twice(volumes=(name,))))
    assert (orphan.code, orphan.kind) == (OrphanCode.UNLISTED_VOLUME, OrphanKind.VOLUME)
    assert (orphan.name, orphan.sandbox_id) == (name, whose)
    assert orphan.verbs == ()


def test_the_volumes_that_an_orphan_s_mark_lists_are_part_of_it() -> None:
    marked = replace(mark(), text=json.dumps({"volumes": {OVERLAY: "overlay"}}))
    orphan = the_orphan(audit(empty(), twice(replace(SOUND, mark=marked))))
    assert orphan.kind is OrphanKind.DOMAIN


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (None, "is UNKNOWN: it has not been listed"),
        (replace(twice(), age_seconds=61), "older than 60 s"),
    ],
)
def test_a_host_that_cannot_be_judged_says_why(seen: Witnesses | None, why: str) -> None:
    comparison = audit(books(BOX), seen)
    assert comparison.findings == ()
    host_audit = the_host(comparison)
    assert not host_audit.audited
    assert why in str(host_audit.reason)


def test_a_host_that_is_down_says_why() -> None:
    down = replace(ALPHA, health_reason="it does not answer")
    assert "it does not answer" in str(the_host(audit(books(hosts=(down,), allocations=()))).reason)
