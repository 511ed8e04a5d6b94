"""Decisions against an oracle that asks host by host: who, why, how many, and always the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import HostHealth, HostResources, HostState
from scheduler.placement import Choice, Demand, Fleet, Outcome, Policy, choose
from tests.placement import fleets, oracle
from tests.placement.fleets import NOW, demand, host

POLICIES = st.sampled_from(Policy)


def decide(
    asked: Demand,
    hosts: Collection[HostResources],
    policy: Policy = Policy.SPREAD,
    groups: Mapping[str, Collection[str]] | None = None,
) -> Choice:
    """Choose from a fresh fleet."""
    return choose(asked, Fleet.of(hosts, groups or {}), policy, now=NOW)


@given(hosts=fleets.fleets(), asked=fleets.demands(), groups=fleets.groups(), policy=POLICIES)
def test_agrees_with_asking_host_by_host(
    hosts: list[HostResources],
    asked: Demand,
    groups: dict[str, set[str]],
    policy: Policy,
) -> None:
    refused = {each.id: oracle.refused_by(each, asked, groups.get(each.id, ())) for each in hosts}
    eligible = sorted(
        (-oracle.score_of(policy, each, asked), each.name) for each in hosts if not refused[each.id]
    )
    first = {host_id: names[0] for host_id, names in refused.items() if names}

    choice = decide(asked, hosts, policy, groups)

    ranked = (choice.chosen, *choice.alternates) if choice.chosen else ()
    assert [(-each.score, each.host_name) for each in ranked] == eligible[:3]
    assert choice.refusals == Counter(first.values())
    assert sum(choice.refusals.values()) == len(hosts) - len(eligible)
    assert {each.host_id: each.filter for each in choice.hosts} == first
    assert [each.host_name for each in choice.hosts] == sorted(
        each.name for each in hosts if each.id in first
    )


@given(hosts=fleets.fleets(), asked=fleets.demands(), groups=fleets.groups())
def test_hope_is_given_up_only_when_no_host_could_ever(
    hosts: list[HostResources], asked: Demand, groups: dict[str, set[str]]
) -> None:
    choice = decide(asked, hosts, groups=groups)

    if choice.chosen:
        assert choice.outcome is Outcome.PLACED
    elif any(oracle.may_ever(each, asked) for each in hosts):
        assert choice.outcome is Outcome.CAPACITY_EXHAUSTED
    else:
        assert choice.outcome is Outcome.CONSTRAINT_IMPOSSIBLE


@given(hosts=fleets.fleets(), asked=fleets.demands(), policy=POLICIES, shuffle=st.randoms())
def test_order_of_arrival_does_not_matter(
    hosts: list[HostResources], asked: Demand, policy: Policy, shuffle: Random
) -> None:
    shuffled = list(hosts)
    shuffle.shuffle(shuffled)
    grown = Fleet.of(())
    for each in shuffled:
        grown.put(each)

    one = decide(asked, hosts, policy)
    other = choose(asked, grown, policy, now=NOW)

    assert one == other
    assert (one.hosts, one.nearest, one.alternates) == (
        other.hosts,
        other.nearest,
        other.alternates,
    )


def test_equal_scores_fall_to_the_first_name() -> None:
    choice = decide(demand(), [host("c"), host("a"), host("d"), host("b")])

    assert choice.chosen is not None
    assert choice.chosen.host_name == "a"
    assert [each.host_name for each in choice.alternates] == ["b", "c"]


def test_a_choice_keeps_what_it_saw() -> None:
    fleet = Fleet.of([host("a"), host("b", limit_memory_mb=1_000), host("c", limit_cpus=1)])
    choice = choose(demand(), fleet, Policy.SPREAD, now=NOW)
    before = (choice.chosen, choice.alternates, choice.nearest, choice.hosts)

    fleet.claim("HST-b", demand().resources)
    fleet.put(host("c", health=HostHealth.DOWN))
    fleet.drop("HST-a")
    choose(demand(vcpus=99), fleet, Policy.SPREAD, now=NOW)

    assert before == (choice.chosen, choice.alternates, choice.nearest, choice.hosts)


def test_the_pinned_host_and_no_other_is_chosen() -> None:
    choice = decide(demand(host="b"), [host("a"), host("b", reserved_cpus=14), host("c")])

    assert choice.chosen is not None
    assert choice.chosen.host_name == "b"
    assert choice.refusals == {"pin": 2}


def test_hosts_that_were_not_pinned_are_no_near_misses() -> None:
    choice = decide(demand(host="b"), [host("a"), host("b", limit_cpus=1)])

    assert [each.host_name for each in choice.nearest] == ["b"]


def test_a_large_fleet_tells_every_host_only_when_nobody_was_chosen() -> None:
    hosts = [host(f"kvm-{number:03}", limit_cpus=1) for number in range(256)]

    assert len(decide(demand(), [*hosts, host("roomy")]).hosts) == 0
    assert len(decide(demand(), [*hosts[1:], host("roomy")]).hosts) == 255
    assert len(decide(demand(), [*hosts, host("small", limit_cpus=1)]).hosts) == 257


def test_filters_are_counted_in_their_order() -> None:
    hosts = [
        host("a", limit_memory_mb=0),
        host("b", state=HostState.CORDONED, observed_images=()),
        host("c", observed_images=()),
        host("d", health=HostHealth.SUSPECT),
    ]

    assert list(decide(demand(), hosts).refusals.items()) == [
        ("state", 1),
        ("health", 1),
        ("image", 1),
        ("memory", 1),
    ]


@pytest.mark.parametrize(
    ("age", "placed"), [(0.0, True), (60.0, True), (60.001, False), (-5.0, True)]
)
def test_facts_are_believed_for_a_minute(age: float, placed: bool) -> None:
    seen = NOW - timedelta(seconds=age)

    assert (decide(demand(), [host(observed_at=seen)]).chosen is not None) is placed


def test_freshness_passes_by_itself() -> None:
    fleet = Fleet.of([host("a", observed_at=NOW), host("b", observed_at=NOW)])

    def chosen(seconds: float, stale_after: float = 60) -> bool:
        now = NOW + timedelta(seconds=seconds)
        choice = choose(demand(), fleet, Policy.SPREAD, now=now, stale_after_seconds=stale_after)
        return choice.chosen is not None

    assert [chosen(0), chosen(59), chosen(61), chosen(10), chosen(61, 90), chosen(0)] == [
        True, True, False, True, True, True,
    ]  # fmt: skip
