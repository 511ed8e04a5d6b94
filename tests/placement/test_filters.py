"""A table for every filter: what it refuses, what it tells of have and need, what it advises."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from scheduler.model import HostHealth, HostResources, HostState, VirtType
from scheduler.placement import Choice, Demand, Fleet, Outcome, Policy, Refusal, choose
from scheduler.placement.filters import FILTERS
from tests.placement.fleets import NOW, breaker, demand, host


@dataclass(frozen=True, kw_only=True)
class Row:
    """A host, a demand that one filter alone refuses, and what is told about it."""

    filter: str
    host: HostResources
    demand: Demand = field(default_factory=demand)
    groups: Collection[str] = ()
    have: object
    need: object
    message: str
    change: str | None
    hope: bool = True


HIGH = demand(memory_mb=4_300)
ROWS = (
    Row(
        filter="pin",
        host=host("kvm-02"),
        demand=demand(host="kvm-07"),
        have="kvm-02",
        need="kvm-07",
        message="kvm-02: not kvm-07, which the request is pinned to",
        change="drop the pin to kvm-07",
        hope=False,
    ),
    Row(
        filter="state",
        host=host("kvm-03", state=HostState.CORDONED, state_reason="disk swap"),
        have="CORDONED",
        need="ACTIVE",
        message="kvm-03: cordoned: disk swap",
        change="uncordon kvm-03",
    ),
    Row(
        filter="state",
        host=host(state=HostState.DRAINING),
        have="DRAINING",
        need="ACTIVE",
        message="kvm-01: draining",
        change="abort the drain of kvm-01",
    ),
    Row(
        filter="state",
        host=host(state=HostState.DRAINED),
        have="DRAINED",
        need="ACTIVE",
        message="kvm-01: drained",
        change="uncordon kvm-01",
    ),
    Row(
        filter="state",
        host=host(state=HostState.REMOVING),
        have="REMOVING",
        need="ACTIVE",
        message="kvm-01: being removed",
        change="add kvm-01 again",
        hope=False,
    ),
    Row(
        filter="health",
        host=host(health=HostHealth.DOWN, health_reason="connection refused"),
        have="DOWN",
        need="UP",
        message="kvm-01: health DOWN: connection refused",
        change="bring kvm-01 back: it is DOWN, not UP",
    ),
    Row(
        filter="health",
        host=host(health=HostHealth.SUSPECT),
        have="SUSPECT",
        need="UP",
        message="kvm-01: health SUSPECT",
        change="bring kvm-01 back: it is SUSPECT, not UP",
    ),
    Row(
        filter="freshness",
        host=host(observed_at=NOW - timedelta(seconds=75.04)),
        have=75.0,
        need=60.0,
        message="kvm-01: last observed 75 s ago, more than 60 s",
        change="wait for a poll of kvm-01",
    ),
    Row(
        filter="freshness",
        host=host(observed_at=None),
        have=None,
        need=60.0,
        message="kvm-01: not observed yet",
        change="wait for a poll of kvm-01",
    ),
    Row(
        filter="architecture",
        host=host(),
        demand=demand(arch="aarch64"),
        have="x86_64",
        need="aarch64",
        message="kvm-01: architecture x86_64, not aarch64",
        change="ask for arch x86_64",
        hope=False,
    ),
    Row(
        filter="architecture",
        host=host(arch=None),
        demand=demand(arch="aarch64"),
        have=None,
        need="aarch64",
        message="kvm-01: architecture unknown, not aarch64",
        change="wait for a poll of kvm-01",
    ),
    Row(
        filter="architecture",
        host=host(virt_type=VirtType.KVM, proven_virt_type=VirtType.QEMU),
        have="x86_64",
        need=None,
        message="kvm-01: meant to run kvm, proven to run qemu",
        change="make kvm work on kvm-01, or set its virt_type to auto",
    ),
    Row(
        filter="labels",
        host=host(labels={"zone": "a"}),
        demand=demand(selector={"zone": "b", "disk": "nvme"}),
        have={"disk": None, "zone": "a"},
        need={"disk": "nvme", "zone": "b"},
        message="kvm-01: label disk=nvme wanted, has no disk; label zone=b wanted, has zone=a",
        change="label kvm-01 with disk=nvme, zone=b",
        hope=False,
    ),
    Row(
        filter="image",
        host=host(observed_images=tuple(f"image-{number}" for number in range(100))),
        have=[f"image-{number}" for number in range(8)],
        need="debian-12",
        message="kvm-01: no image debian-12 in pool default",
        change="put image debian-12 into pool default of kvm-01",
        hope=False,
    ),
    Row(
        filter="network",
        host=host(observed_networks=("br0", "mgmt"), networks=("br0",)),
        have=["br0"],
        need=None,
        message="kvm-01: network default is not active",
        change="start network default on kvm-01",
    ),
    Row(
        filter="network",
        host=host(),
        demand=demand(network="br0"),
        have=["default"],
        need="br0",
        message="kvm-01: network br0 is not offered",
        change="offer network br0 on kvm-01",
        hope=False,
    ),
    Row(
        filter="pool",
        host=host(observed_pool_active=False),
        have=None,
        need=None,
        message="kvm-01: pool default is not active",
        change="start pool default on kvm-01",
    ),
    Row(
        filter="pool",
        host=host(),
        demand=demand(pool="fast"),
        have="default",
        need="fast",
        message="kvm-01: its pool is default, not fast",
        change="ask for pool default",
        hope=False,
    ),
    Row(
        filter="breaker",
        host=host("kvm-02", breakers=(breaker("alpine-3"), breaker())),
        have="2026-03-01T12:01:00+00:00",
        need="debian-12",
        message="kvm-02: too many builds failed there: no room",
        change="wait until kvm-02 is tried again",
    ),
    Row(
        filter="breaker",
        host=host("kvm-02", breakers=(breaker("debian-12"),)),
        have="2026-03-01T12:01:00+00:00",
        need="debian-12",
        message="kvm-02: too many builds of debian-12 failed there: no room",
        change="wait until kvm-02 is tried again",
    ),
    Row(
        filter="tried",
        host=host("kvm-02"),
        demand=demand(tried=("kvm-07", "kvm-02")),
        have="kvm-02",
        need=["kvm-02", "kvm-07"],
        message="kvm-02: this sandbox stands there, or could not be brought up",
        change=None,
        hope=False,
    ),
    Row(
        filter="cpu",
        host=host(reserved_cpus=15),
        have=1,
        need=2,
        message="kvm-01: cpu 1 free < 2 wanted",
        change="ask for 1 fewer vCPU (kvm-01 would take it)",
    ),
    Row(
        filter="cpu",
        host=host(limit_cpus=8),
        demand=demand(vcpus=10),
        have=8,
        need=10,
        message="kvm-01: cpu 8 in all < 10 wanted",
        change="ask for 2 fewer vCPUs (kvm-01 would take it)",
        hope=False,
    ),
    Row(
        filter="memory",
        host=host("kvm-02", reserved_memory_mb=16_384 - 3_174),
        demand=HIGH,
        have=3_174,
        need=4_300,
        message="kvm-02: memory 3.1 GiB free < 4.2 GiB wanted (overhead included)",
        change="ask for 1126 MiB less memory (kvm-02 would take it)",
    ),
    Row(
        filter="memory",
        host=host(limit_memory_mb=4_299),
        demand=HIGH,
        have=4_299,
        need=4_300,
        message="kvm-01: memory 4299 MiB in all < 4300 MiB wanted (overhead included)",
        change="ask for 1 MiB less memory (kvm-01 would take it)",
        hope=False,
    ),
    Row(
        filter="memory",
        host=host(reserved_memory_mb=16_384 + 100),
        demand=HIGH,
        have=-100,
        need=4_300,
        message="kvm-01: memory 0 MiB free < 4.2 GiB wanted (overhead included)",
        change=None,
    ),
    Row(
        filter="storage",
        host=host(reserved_storage_mb=90_000),
        have=10_000,
        need=10_240,
        message="kvm-01: storage 9.8 GiB free < 10.0 GiB wanted",
        change="ask for 240 MiB less storage (kvm-01 would take it)",
    ),
    Row(
        filter="limits",
        host=host(limit_sandboxes=3, reserved_sandboxes=3),
        have=0,
        need=1,
        message="kvm-01: limit of 3 sandboxes reached",
        change="raise max_sandboxes of kvm-01",
    ),
    Row(
        filter="limits",
        host=host(limit_sandboxes=0),
        have=0,
        need=1,
        message="kvm-01: limit of 0 sandboxes reached",
        change="raise max_sandboxes of kvm-01",
        hope=False,
    ),
    Row(
        filter="anti_affinity",
        host=host(),
        demand=demand(anti_affinity_group="db"),
        groups=["db"],
        have="db",
        need="db",
        message="kvm-01: holds a sandbox of group db already",
        change="end the sandbox of group db on kvm-01",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.message)
def test_tells_have_and_need_and_what_would_help(row: Row) -> None:
    choice = _decide(row)

    assert choice.hosts == (
        Refusal(
            host_id=row.host.id,
            host_name=row.host.name,
            filter=row.filter,
            have=row.have,
            need=row.need,
            message=row.message,
        ),
    )
    assert choice.refusals == {row.filter: 1}
    assert choice.smallest_change == row.change
    hopes = {True: Outcome.CAPACITY_EXHAUSTED, False: Outcome.CONSTRAINT_IMPOSSIBLE}
    assert choice.outcome is hopes[row.hope]


def test_every_filter_has_a_row_and_they_stand_in_its_order() -> None:
    elsewhere = {"image_room"}  # see test_images
    names = [each.name for each in FILTERS if each.name not in elsewhere]
    assert list(dict.fromkeys(row.filter for row in ROWS)) == names


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({}, {"host": "kvm-01"}),
        ({}, {"arch": "x86_64"}),
        ({"arch": None}, {}),
        ({"virt_type": VirtType.KVM}, {}),
        ({"virt_type": VirtType.KVM, "proven_virt_type": VirtType.KVM}, {}),
        ({"virt_type": VirtType.AUTO, "proven_virt_type": VirtType.QEMU}, {}),
        ({"labels": {"zone": "a", "more": "b"}}, {"selector": {"zone": "a"}}),
        ({"networks": ("br0",), "observed_networks": ("br0", "default")}, {"network": "br0"}),
        ({"pool": "fast"}, {"pool": "fast"}),
        ({"reserved_cpus": 14, "reserved_memory_mb": 16_384 - 2_304}, {}),
        ({"reserved_storage_mb": 100_000 - 10_240}, {}),
        ({"limit_sandboxes": 3, "reserved_sandboxes": 2}, {}),
        ({}, {"anti_affinity_group": "other"}),
    ],
)
def test_admits_who_just_fits(changed: dict[str, Any], asked: dict[str, Any]) -> None:
    fleet = Fleet.of([host(**changed)], {"HST-kvm-01": ["db"]})

    assert choose(demand(**asked), fleet, Policy.SPREAD, now=NOW).chosen is not None


def test_a_host_never_observed_is_not_given_up() -> None:
    unknown = host(
        observed_at=None,
        observed_images=(),
        networks=("br0",),
        observed_networks=(),
        limit_cpus=0,
        limit_memory_mb=0,
        limit_storage_mb=0,
        arch=None,
    )
    choice = choose(
        demand(arch="x86_64", network="br0"), Fleet.of([unknown]), Policy.SPREAD, now=NOW
    )

    assert choice.outcome is Outcome.CAPACITY_EXHAUSTED


def _decide(row: Row) -> Choice:
    fleet = Fleet.of([row.host], {row.host.id: row.groups})
    return choose(row.demand, fleet, Policy.SPREAD, now=NOW)


def test_a_breaker_that_is_over_keeps_nobody_out() -> None:
    over = host(breakers=(breaker(since=-60), breaker(since=5), breaker("alpine-3")))
    assert choose(demand(), Fleet.of([over]), Policy.SPREAD, now=NOW).outcome is Outcome.PLACED


def test_a_breaker_follows_its_host_through_the_fleet() -> None:
    fleet = Fleet.of([host("b"), host("c", breakers=(breaker(),))])

    def placed() -> list[str]:
        found = choose(demand(), fleet, Policy.SPREAD, now=NOW)
        return [each.host_name for each in ((found.chosen,) if found.chosen else ())]

    fleet.put(host("a", breakers=(breaker(),)))
    assert placed() == ["b"]
    fleet.put(host("b", breakers=(breaker(),)))
    assert placed() == []
    fleet.put(host("c"))
    assert placed() == ["c"]
    fleet.drop("HST-c")
    fleet.drop("HST-b")
    assert placed() == []
    fleet.put(host("a"))
    assert placed() == ["a"]
