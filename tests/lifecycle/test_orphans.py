"""Only what a tombstone proves is destroyed; everything else is told, or not ours at all (I5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from scheduler.lifecycle.orphans import (
    MIN_AGE_SECONDS,
    Budget,
    DestroyOrphan,
    HoldDestroys,
    HostView,
    OrphanCode,
    ReportOrphan,
    orphans,
    owner_named,
    rationed,
    told_of,
)
from scheduler.model import Inventory, ObservedDomain
from tests.lifecycle.samples import NOW, UUID, domain, listing, mark

OLD = NOW - timedelta(seconds=MIN_AGE_SECONDS)


def found(
    *views: HostView,
    live: dict[str, set[str]] | None = None,
    tombstones: dict[str, datetime] | None = None,
) -> tuple[DestroyOrphan | ReportOrphan, ...]:
    return orphans(views, live=live or {}, tombstones=tombstones or {}, now=NOW)


def doomed(*numbers: int) -> list[DestroyOrphan]:
    """Return the destroys of domains of which those with higher numbers were buried earlier."""
    steps = found(
        twice(*(marked(number) for number in numbers)),
        tombstones={f"SBX-{n}": OLD - timedelta(seconds=n) for n in numbers},
    )
    return [step for step in steps if isinstance(step, DestroyOrphan)]


def spent(*ago: float) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(seconds=seconds) for seconds in ago)


def twice(*domains: ObservedDomain) -> HostView:
    return HostView(
        inventory=listing(*domains, begun_at=20), previous=listing(*domains, begun_at=10)
    )


def marked(number: int = 1) -> ObservedDomain:
    uuid = f"{UUID[:-3]}{number:03d}"
    return domain(uuid=uuid, marked=mark(f"SBX-{number}", uuid))


def test_a_burial_before_the_clock_was_set_back_is_not_waited_for() -> None:
    tomorrow = NOW + timedelta(days=1)
    assert len(found(twice(marked()), tombstones={"SBX-1": tomorrow})) == 1
    once = HostView(inventory=listing(marked(), begun_at=20))
    assert found(once, tombstones={"SBX-1": tomorrow}) == ()


def test_a_domain_with_a_tombstone_is_destroyed_after_two_sightings() -> None:
    assert found(twice(marked()), tombstones={"SBX-1": OLD}) == (
        DestroyOrphan(host_id="HST-1", domain_uuid=UUID, name="sbx-1", sandbox_id="SBX-1"),
    )


@pytest.mark.parametrize(
    "previous",
    [
        None,
        listing(begun_at=10),
        listing(domain(), begun_at=10),
        listing(marked(), begun_at=20),
        listing(marked(), begun_at=10, host_id="HST-2"),
    ],
    ids=["none", "not there", "unmarked", "the same listing", "another host"],
)
def test_one_sighting_is_not_enough(previous: Inventory | None) -> None:
    view = HostView(inventory=listing(marked(), begun_at=20), previous=previous)
    assert found(view, tombstones={"SBX-1": OLD}) == ()


def test_one_that_is_being_removed_already_is_not_condemned_again() -> None:
    view = replace(twice(marked()), condemned=frozenset({"SBX-1"}))
    assert found(view, tombstones={"SBX-1": OLD}) == ()


def test_a_young_tombstone_waits() -> None:
    young = OLD + timedelta(seconds=1)
    assert found(twice(marked()), tombstones={"SBX-1": young}) == ()


def reported(step: DestroyOrphan | ReportOrphan) -> ReportOrphan:
    assert isinstance(step, ReportOrphan)
    return step


def test_a_marked_domain_without_any_record_is_reported() -> None:
    (step,) = found(twice(marked()))
    told = reported(step)
    assert (told.reason_code, told.kind, told.sandbox_id) == ("no_record", "domain", "SBX-1")
    assert (told.host_id, told.domain_uuid) == ("HST-1", UUID)


def test_a_copy_on_another_host_is_reported() -> None:
    (step,) = found(twice(marked()), live={"SBX-1": {"HST-2"}}, tombstones={"SBX-1": OLD})
    assert reported(step).reason_code == "stray_copy"


def test_a_forged_mark_is_reported_and_never_trusted() -> None:
    (step,) = found(twice(domain(forged=True)), tombstones={"SBX-1": OLD})
    told = reported(step)
    assert (told.reason_code, told.sandbox_id) == ("forged_mark", None)


def test_live_and_foreign_domains_are_left_alone() -> None:
    foreign = domain(uuid="5e3c4b6e-0000-5000-8000-000000000009")
    assert found(twice(marked(), foreign), live={"SBX-1": {"HST-1", "HST-2"}}) == ()


def test_unlisted_volumes_named_like_ours_are_reported() -> None:
    inventory = listing(volumes=("sbx-1.qcow2", "sbx-2.qcow2", "debian.qcow2"))
    view = HostView(inventory=inventory, listed_volumes=frozenset({"sbx-1.qcow2"}))
    (step,) = found(view)
    told = reported(step)
    assert (told.kind, told.name, told.reason_code) == ("volume", "sbx-2.qcow2", "unlisted_volume")


@pytest.mark.parametrize("end", [".qcow2", "-seed.iso", "-l12.qcow2", "-20261128-093012.qcow2"])
def test_a_volume_names_its_sandbox(end: str) -> None:
    """The overlay, the seed, a layer, and the copy that becomes an image."""
    assert owner_named(f"sbx-01m8me9engd6fqgtvbr4v49xez{end}") == "SBX-01M8ME9ENGD6FQGTVBR4V49XEZ"
    assert owner_named(f"sbx-1{end}") is None


def test_a_host_without_its_pool_has_no_volumes_to_report() -> None:
    assert found(HostView(inventory=replace(listing(), pool=None))) == ()


def test_the_budget_of_a_pass_holds_the_rest_and_tells() -> None:
    allowed, hold = rationed(doomed(*range(1, 9)), Budget(), NOW)
    assert [step.sandbox_id for step in allowed] == ["SBX-8", "SBX-7", "SBX-6", "SBX-5", "SBX-4"]
    assert isinstance(hold, HoldDestroys)
    assert hold.held == 3
    assert "5 a pass" in hold.message


def test_within_the_budget_nothing_is_held() -> None:
    assert rationed(doomed(1, 2), Budget(), NOW) == (tuple(doomed(1, 2)), None)
    assert rationed((), Budget(spent=spent(*[1] * 50)), NOW) == ((), None)


@pytest.mark.parametrize(("ago", "left"), [(3599, 0), (3600, 5)])
def test_the_budget_of_an_hour_comes_back(ago: int, left: int) -> None:
    budget = Budget(spent=spent(*[ago] * 50))
    assert budget.left(NOW) == left
    allowed, hold = rationed(doomed(1), budget, NOW)
    assert (len(allowed), hold is None) == ((1, True) if left else (0, False))


@pytest.mark.parametrize(("ago", "left"), [(0, 2), (9.9, 2), (10, 5)])
def test_what_a_pass_has_spent_on_other_hosts_is_spent(ago: float, left: int) -> None:
    assert Budget(pass_seconds=10, spent=spent(ago, ago, ago)).left(NOW) == left
    assert Budget(spent=spent(ago, ago, ago)).left(NOW) == 5, "each judgement is a pass"


def test_what_was_spent_before_the_clock_was_set_back_counts_for_the_hour_only() -> None:
    assert Budget(pass_seconds=10, spent=spent(*[-86_400] * 5)).left(NOW) == 5
    assert Budget(pass_seconds=10, spent=spent(*[-86_400] * 47)).left(NOW) == 3


def test_the_budget_never_goes_below_nothing() -> None:
    assert Budget(spent=(NOW,) * 60).left(NOW) == 0
    assert Budget(spent=(NOW,) * 48).left(NOW) == 2
    assert Budget(pass_seconds=10, spent=(NOW,) * 6).left(NOW) == 0


def test_an_orphan_is_told_by_its_name_and_a_reason_of_its_own() -> None:
    codes = [code for code in OrphanCode if code is not OrphanCode.UNLISTED_VOLUME]
    sentences = [told_of(domain(), code) for code in codes]
    assert len(set(sentences)) == len(codes)
    assert all(repr(domain().name) in each for each in sentences)
