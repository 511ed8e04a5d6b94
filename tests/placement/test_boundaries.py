"""The last unit decides: what just fits, just passed, or is just fresh, and what is told of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.model import HostHealth, HostResources, HostState
from scheduler.placement import Demand, Fleet, Outcome, Policy, choose, explain
from scheduler.placement.choice import Choice
from scheduler.placement.documents import demand_document, demand_of
from tests.placement.fleets import NOW, breaker, demand, host

AMOUNTS = {"vcpus": "cpus", "memory_mb": "memory_mb", "storage_mb": "storage_mb"}
"""What hosts call the amounts that a demand asks for."""
GOLDEN: dict[str, Any] = {"image": "golden", "image_digest": "sha256:a", "image_mb": 1000}


def chosen(of: Demand, *hosts: HostResources, later: float = 0) -> Choice:
    return choose(of, Fleet.of(hosts), Policy.SPREAD, now=NOW + timedelta(seconds=later))


@pytest.mark.parametrize("amount", AMOUNTS)
def test_a_full_host_that_would_just_do_when_empty_is_waited_for(amount: str) -> None:
    wanted, name = demand(**{amount: 8_000}), AMOUNTS[amount]
    for most, outcome, words in (
        (8_000, Outcome.CAPACITY_EXHAUSTED, " free < "),
        (7_999, Outcome.CONSTRAINT_IMPOSSIBLE, " in all < "),
    ):
        choice = chosen(wanted, host("full", **{f"limit_{name}": most, f"reserved_{name}": most}))
        (refusal,) = choice.hosts
        assert choice.outcome is outcome
        assert words in refusal.message


@pytest.mark.parametrize(
    ("most", "holds", "outcome"),
    [
        (11_240, False, Outcome.CAPACITY_EXHAUSTED),
        (11_239, False, Outcome.CONSTRAINT_IMPOSSIBLE),
        (11_239, True, Outcome.CAPACITY_EXHAUSTED),
    ],
)
def test_room_for_a_copy_beside_the_disk_is_hoped_for_to_the_last_mib(
    most: int, holds: bool, outcome: Outcome
) -> None:
    fleet = Fleet.of([host("a", limit_storage_mb=most, reserved_storage_mb=most)])
    fleet.hold("sha256:a", ["HST-a"] if holds else [])
    assert choose(demand(**GOLDEN), fleet, Policy.SPREAD, now=NOW).outcome is outcome


def test_a_host_that_was_never_seen_may_have_room_for_anything() -> None:
    unseen = host("a", observed_at=None, health=HostHealth.UNKNOWN, limit_storage_mb=0)
    assert chosen(demand(**GOLDEN), unseen).outcome is Outcome.CAPACITY_EXHAUSTED


def test_facts_are_fresh_to_the_last_moment_and_not_remembered_beyond_it() -> None:
    fleet = Fleet.of([host("a", observed_at=NOW - timedelta(seconds=60))])
    for later, outcome in ((0, Outcome.PLACED), (0.5, Outcome.CAPACITY_EXHAUSTED)):
        now = NOW + timedelta(seconds=later)
        found = choose(demand(), fleet, Policy.SPREAD, now=now, stale_after_seconds=60)
        assert found.outcome is outcome


def test_what_every_host_has_is_told_beside_what_is_asked() -> None:
    images = tuple(f"image-{number:02}" for number in range(20))
    fleet = Fleet.of(
        [
            host("a", limit_sandboxes=3, reserved_sandboxes=1, observed_images=(*images, "zebra")),
            host("b", breakers=(breaker("zebra"),), observed_at=NOW - timedelta(seconds=5.26)),
        ],
        {"HST-b": {"g"}},
    )
    told = explain(demand(image="zebra", anti_affinity_group="g"), fleet, Policy.SPREAD, now=NOW)
    have = {
        each.filter: [host.have[row] for host in told.hosts]
        for row, each in enumerate(told.constraints)
    }
    assert have["limits"] == [2, None]
    assert have["anti_affinity"] == [None, "g"]
    assert have["image"][0] == ["zebra"]
    assert have["freshness"] == [5.0, 5.3]
    assert have["breaker"][0] is None
    assert have["breaker"][1] is not None
    assert [one.eligible for one in told.hosts] == [True, False]


def test_a_cut_names_only_what_is_short_and_counts_by_the_least_that_is_given_up() -> None:
    cordoned = host("cordoned", state=HostState.CORDONED)
    narrow = host("narrow", reserved_cpus=15, reserved_memory_mb=16_384 - 2_000)
    full = host("full", reserved_memory_mb=16_384 - 2_000)
    less = "ask for 304 MiB less memory (full would take it)"
    assert chosen(demand(), cordoned, narrow, full).smallest_change == less
    for free in (10_240, 10_241):
        just = host("full", reserved_memory_mb=14_384, reserved_storage_mb=100_000 - free)
        assert chosen(demand(), just).smallest_change == less


def test_the_hosts_of_a_fleet_are_told_with_their_claims() -> None:
    fleet = Fleet.of([host("b"), host("a", reserved_cpus=3)])
    assert [(one.name, one.reserved_cpus) for one in fleet.hosts()] == [("a", 3), ("b", 0)]


def test_a_new_host_holds_what_was_said_of_it_whoever_its_neighbours_are() -> None:
    for holder in ("a", "b"):
        fleet = Fleet.of([host("b")])
        fleet.hold("sha256:a", [f"HST-{holder}"])
        assert fleet.holding("sha256:a").tolist() == [holder == "b"]
        fleet.put(host("a"))
        assert fleet.holding("sha256:a").tolist() == [holder == "a", holder == "b"]


def test_a_decision_of_the_first_release_asked_for_no_image_of_ours() -> None:
    document = {**demand_document(demand())}
    for since in ("image_digest", "image_mb", "transfer_seconds"):
        del document[since]
    assert demand_of(document) == demand()
