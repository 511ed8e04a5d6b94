"""How many fit is how many placements it takes until nobody takes one more."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import HostResources, HostState, Resources
from scheduler.placement import Demand, Fleet, Policy, choose, explain, fitting, headroom
from scheduler.placement.demand import ANY_IMAGE
from tests.placement import fleets
from tests.placement.fleets import NOW, demand, host

_AMOUNT = st.integers(1, 3)
_SIZES = st.builds(Resources, vcpus=_AMOUNT, memory_mb=_AMOUNT, storage_mb=_AMOUNT)


def filled(fleet: Fleet, asked: Demand, policy: Policy) -> dict[str, int]:
    """Place demand after demand until nobody takes one more, and count them by host."""
    taken = dict.fromkeys((each.name for each in fleet.records), 0)
    holders: set[str] = set()
    while (chosen := choose(asked, fleet, policy, now=NOW).chosen) is not None:
        taken[chosen.host_name] += 1
        fleet.claim(chosen.host_id, asked.resources, asked.anti_affinity_group)
        if asked.image_digest is not None and chosen.host_id not in holders:
            # The first one there brings the copy, which stays in the pool.
            holders.add(chosen.host_id)
            fleet.hold(asked.image_digest, holders)
            fleet.free[2, fleet.row_named(chosen.host_name)] -= asked.image_mb
    return taken


@given(
    hosts=fleets.fleets(),
    asked=fleets.demands(),
    size=_SIZES,
    groups=fleets.groups(),
    policy=st.sampled_from(Policy),
)
def test_as_many_fit_as_are_placed_until_nobody_takes_one_more(
    hosts: list[HostResources],
    asked: Demand,
    size: Resources,
    groups: dict[str, set[str]],
    policy: Policy,
) -> None:
    asked, fleet = replace(asked, resources=size), Fleet.of(hosts, groups)

    found, number = headroom(asked, fleet, now=NOW), fitting(asked, fleet, now=NOW)

    placed = filled(fleet, asked, policy)
    assert {room.weighed.host_name: room.fits for room in found.hosts} == placed
    assert found.fits == number == sum(placed.values())
    refused = {
        each.host_name: each.refused for each in explain(asked, fleet, policy, now=NOW).hosts
    }
    for room in found.hosts:
        assert (room.bound_by is None) is (room.fits == 0)
        if room.bound_by is not None and asked.image_digest is None:
            assert room.bound_by == refused[room.weighed.host_name][0]


def test_what_ends_first_is_named_and_what_keeps_all_out() -> None:
    hosts = [
        host("a", limit_cpus=9, limit_memory_mb=10**6, limit_storage_mb=10**7),
        host("b", limit_sandboxes=3, reserved_sandboxes=1, limit_cpus=64),
        host("c", state=HostState.CORDONED),
        host("d", reserved_cpus=15),
    ]

    found = headroom(demand(), Fleet.of(hosts), now=NOW)

    assert [(room.fits, room.bound_by) for room in found.hosts] == [
        (4, "cpu"),
        (2, "limits"),
        (0, None),
        (0, None),
    ]
    assert found.fits == 6
    assert [room.weighed.message for room in found.hosts][2:] == [
        "c: cordoned",
        "d: cpu 1 free < 2 wanted",
    ]
    assert [room.free.sandboxes for room in found.hosts] == [None, 2, None, None]
    assert (found.hosts[3].free.vcpus, found.hosts[3].limit.vcpus) == (1, 16)


def test_one_of_a_group_fits_on_each_host_that_holds_none() -> None:
    fleet = Fleet.of([host("a"), host("b")], {"HST-a": {"db"}})

    found = headroom(demand(anti_affinity_group="db"), fleet, now=NOW)

    assert [(room.fits, room.bound_by) for room in found.hosts] == [(0, None), (1, "anti_affinity")]


def test_a_copy_of_the_image_is_taken_off_once_where_there_is_none() -> None:
    fleet = Fleet.of([host("a"), host("b")])
    fleet.hold("sha256:a", ["HST-a"])
    asked = demand(vcpus=1, memory_mb=1, storage_mb=10_000, image_digest="sha256:a", image_mb=1)

    found = headroom(asked, fleet, now=NOW)

    assert [(room.fits, room.bound_by) for room in found.hosts] == [
        (10, "storage"),
        (9, "image_room"),
    ]


def test_a_question_about_no_image_asks_for_none() -> None:
    fleet = Fleet.of([host(observed_images=())])

    assert headroom(demand(image=ANY_IMAGE), fleet, now=NOW).fits == 7
    assert headroom(demand(), fleet, now=NOW).fits == 0


def test_an_empty_fleet_takes_none() -> None:
    found = headroom(demand(), Fleet.of([]), now=NOW)

    assert (found.fits, found.hosts) == (0, ())
    assert found.explanation.choice.smallest_change == "add a host"


def test_what_takes_nothing_of_an_amount_is_not_bound_by_it() -> None:
    found = headroom(demand(vcpus=0, storage_mb=0), Fleet.of([host()]), now=NOW)

    assert [(room.fits, room.bound_by) for room in found.hosts] == [(7, "memory")]
