"""What would admit a refused request: the smallest change, by effort, and nothing absurd."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given

from scheduler.model import HostHealth, HostResources, HostState, Resources
from scheduler.placement import Demand, Fleet, Outcome, Policy, choose
from tests.placement import fleets
from tests.placement.fleets import NOW, demand, host

CORDONED = host("cordoned", state=HostState.CORDONED)
FULL = host("full", reserved_memory_mb=16_384 - 2_000)
FULLER = host("fuller", reserved_memory_mb=16_384 - 1_500)
NARROW = host("narrow", reserved_cpus=15, reserved_memory_mb=16_384 - 2_000)
DOWN = host("down", health=HostHealth.DOWN)


@pytest.mark.parametrize(
    ("hosts", "asked", "change"),
    [
        ([], demand(), "add a host"),
        ([FULLER, FULL], demand(), "ask for 304 MiB less memory (full would take it)"),
        (
            [NARROW],
            demand(),
            "ask for 1 fewer vCPU and 304 MiB less memory (narrow would take it)",
        ),
        ([NARROW, FULLER], demand(), "ask for 804 MiB less memory (fuller would take it)"),
        ([DOWN, CORDONED], demand(), "uncordon cordoned"),
        ([CORDONED, FULL], demand(), "ask for 304 MiB less memory (full would take it)"),
        ([CORDONED, NARROW], demand(), "uncordon cordoned"),
        ([replace(FULL, reserved_memory_mb=16_000)], demand(), None),
        ([replace(CORDONED, observed_images=())], demand(), None),
        ([host()], demand(host="typo"), "drop the pin to typo"),
        ([DOWN, host()], demand(host="down"), "drop the pin to down"),
    ],
)
def test_names_the_smallest_change(
    hosts: Collection[HostResources], asked: Demand, change: str | None
) -> None:
    assert choose(asked, Fleet.of(hosts), Policy.SPREAD, now=NOW).smallest_change == change


@given(hosts=fleets.fleets(), asked=fleets.demands())
def test_doing_without_a_resource_admits(hosts: list[HostResources], asked: Demand) -> None:
    """Whoever asks for as much less as was advised is placed."""
    fleet = Fleet.of(hosts)
    change = choose(asked, fleet, Policy.SPREAD, now=NOW).smallest_change or ""

    if change.startswith("ask for") and "would take it" in change:
        cuts = change.removeprefix("ask for ").split(" (")[0].split(" and ")
        amounts = {cut.split()[-1]: int(cut.split()[0]) for cut in cuts}
        cut = Resources(
            vcpus=amounts.get("vCPU", 0) + amounts.get("vCPUs", 0),
            memory_mb=amounts.get("memory", 0),
            storage_mb=amounts.get("storage", 0),
        )
        less = replace(asked, resources=asked.resources - cut)
        assert choose(less, fleet, Policy.SPREAD, now=NOW).outcome is Outcome.PLACED


def test_nothing_is_advised_when_all_is_well() -> None:
    assert choose(demand(), Fleet.of([host()]), Policy.SPREAD, now=NOW).smallest_change is None
