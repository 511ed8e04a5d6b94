"""Policies: the score that the definition gives, to the last bit, and what each one is for."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given

from scheduler.model import HostResources
from scheduler.placement import Demand, Fleet, Policy, choose
from scheduler.placement.policy import scores
from tests.placement import fleets, oracle
from tests.placement.fleets import NOW, demand, host

EMPTY = host("empty")
HALF = host(
    "half",
    reserved_sandboxes=4,
    reserved_cpus=8,
    reserved_memory_mb=8_192,
    reserved_storage_mb=50_000,
)
CPU_HEAVY = host(
    "lopsided",
    reserved_sandboxes=2,
    reserved_cpus=10,
    reserved_memory_mb=1_000,
    reserved_storage_mb=30_000,
)


@given(hosts=fleets.fleets(), asked=fleets.demands())
def test_scores_are_those_of_the_definition(hosts: list[HostResources], asked: Demand) -> None:
    fleet = Fleet.of(hosts)

    for policy in Policy:
        assert scores(policy, fleet, asked.resources).tolist() == [
            oracle.score_of(policy, each, asked) for each in fleet.records
        ]


@pytest.mark.parametrize(
    ("policy", "hosts", "chosen"),
    [
        (Policy.SPREAD, [HALF, EMPTY], "empty"),
        (Policy.PACK, [HALF, EMPTY], "half"),
        (Policy.SPREAD, [CPU_HEAVY, HALF], "half"),
        (Policy.BALANCED, [HALF, EMPTY], "empty"),
    ],
)
def test_each_policy_does_what_it_is_for(
    policy: Policy, hosts: Collection[HostResources], chosen: str
) -> None:
    choice = choose(demand(1, 1_024, 6_250), Fleet.of(hosts), policy, now=NOW)

    assert choice.chosen is not None
    assert choice.chosen.host_name == chosen


def test_pack_fills_up_what_others_left_lopsided() -> None:
    memory_heavy = demand(vcpus=1, memory_mb=8_192, storage_mb=20_000)
    hosts = [EMPTY, HALF, CPU_HEAVY]

    choice = choose(memory_heavy, Fleet.of(hosts), Policy.PACK, now=NOW)

    assert choice.chosen is not None
    assert choice.chosen.host_name == "lopsided"


def test_balanced_does_not_strand_what_spread_would() -> None:
    cpus_left = host("cpus-left", reserved_memory_mb=11_000, reserved_storage_mb=67_000)
    even = host("even", reserved_cpus=11, reserved_memory_mb=11_300, reserved_storage_mb=69_000)
    small = demand(vcpus=1, memory_mb=500, storage_mb=1_000)

    def chosen(policy: Policy) -> str:
        choice = choose(small, Fleet.of([cpus_left, even]), policy, now=NOW)
        assert choice.chosen is not None
        return choice.chosen.host_name

    assert chosen(Policy.SPREAD) == "cpus-left"
    assert chosen(Policy.BALANCED) == "even"
