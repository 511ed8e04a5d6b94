"""Images that the control node keeps: who holds one is preferred, and a copy needs its room."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.placement import Demand, Outcome, Policy
from scheduler.placement.choice import Choice, choose
from scheduler.placement.documents import decision_of, explanation_document
from scheduler.placement.explanation import explain
from scheduler.placement.fleet import Fleet
from tests.placement.fleets import NOW, demand, host

DIGEST = "sha256:a"


def wanting(image_mb: int = 1000, **rest: Any) -> Demand:
    return demand(
        image="golden", image_digest=DIGEST, image_mb=image_mb, transfer_seconds=12.5, **rest
    )


def chosen(fleet: Fleet, policy: Policy, of: Demand) -> Choice:
    return choose(of, fleet, policy, now=NOW)


@pytest.mark.parametrize("policy", Policy)
def test_who_holds_the_image_is_preferred_and_no_other_host_is_refused(policy: Policy) -> None:
    fleet = Fleet.of([host("a"), host("b"), host("c")])
    assert chosen(fleet, policy, wanting()).refusals == {}
    fleet.hold(DIGEST, ["HST-b"])
    choice = chosen(fleet, policy, wanting())
    assert choice.chosen is not None
    assert (choice.chosen.host_name, choice.chosen.transfer_seconds) == ("b", None)
    assert [one.transfer_seconds for one in choice.alternates] == [12.5, 12.5]


def test_a_much_fuller_host_is_not_preferred_for_its_copy() -> None:
    full = host("b", reserved_memory_mb=10_000, reserved_cpus=10, reserved_storage_mb=60_000)
    fleet = Fleet.of([host("a"), full])
    fleet.hold(DIGEST, ["HST-b"])
    choice = chosen(fleet, Policy.SPREAD, wanting())
    assert choice.chosen is not None
    assert choice.chosen.host_name == "a"
    stored = decision_of(choice, id="DEC-1", sandbox_id=None, at=NOW)
    assert [one["transfer_seconds"] for one in stored.chosen] == [12.5, None]


def test_a_host_that_holds_it_needs_no_room_for_a_copy() -> None:
    tight = {"reserved_storage_mb": 100_000 - 10_240 - 999}
    fleet = Fleet.of([host("a", **tight), host("b", **tight)])
    refused = chosen(fleet, Policy.SPREAD, wanting())
    assert refused.refusals == {"image_room": 2}
    (nearest, _) = refused.nearest
    assert (nearest.have, nearest.need) == (10_240 + 999, 10_240 + 1000)
    assert nearest.message == (
        "a: storage 11239 MiB free < 11240 MiB for disk and copy of the image"
    )
    assert refused.smallest_change == "free 1000 MiB of storage on a for the image"
    fleet.hold(DIGEST, ["HST-b"])
    choice = chosen(fleet, Policy.SPREAD, wanting())
    assert choice.chosen is not None
    assert choice.chosen.host_name == "b"
    assert choice.refusals == {"image_room": 1}


def test_a_host_too_small_for_the_copy_even_when_empty_is_no_hope() -> None:
    fleet = Fleet.of([host("a", limit_storage_mb=10_500)])
    choice = chosen(fleet, Policy.SPREAD, wanting())
    assert choice.outcome is Outcome.CONSTRAINT_IMPOSSIBLE
    fleet.hold(DIGEST, ["HST-a"])
    assert chosen(fleet, Policy.SPREAD, wanting()).chosen is not None


def test_holders_are_remembered_and_follow_changes_of_the_fleet() -> None:
    fleet = Fleet.of([host("b")])
    fleet.hold(DIGEST, ["HST-a", "HST-b"])
    assert fleet.holding(DIGEST).tolist() == [True]
    fleet.put(host("a"))
    assert fleet.holding(DIGEST).tolist() == [True, True]
    fleet.put(host("c", observed_at=NOW - timedelta(seconds=1)))
    assert fleet.holding(DIGEST).tolist() == [True, True, False]
    fleet.drop("HST-a")
    assert fleet.holding(DIGEST).tolist() == [True, False]
    fleet.hold(DIGEST, [])
    assert fleet.holding(DIGEST).tolist() == [False, False]


def test_remembered_holders_are_bounded() -> None:
    fleet = Fleet.of([host("a")])
    fleet.hold(DIGEST, ["HST-a"])
    for number in range(300):
        assert fleet.holding(f"sha256:{number}").tolist() == [False]
    assert fleet.holding(DIGEST).tolist() == [True]


def test_an_explanation_weighs_copies_as_the_decision_does() -> None:
    fleet = Fleet.of([host("a"), host("b")])
    fleet.hold(DIGEST, ["HST-b"])
    told = explain(wanting(), fleet, Policy.SPREAD, now=NOW)
    lacking, holder = told.hosts
    assert lacking.score is not None
    assert holder.score is not None
    assert holder.score - lacking.score == pytest.approx(0.25)
    assert "image_room" in [each.filter for each in told.constraints]
    assert "image" not in [each.filter for each in told.constraints]
    assert explanation_document(told)["demand"]["image_digest"] == DIGEST  # type: ignore[index]
