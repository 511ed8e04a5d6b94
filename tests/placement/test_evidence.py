"""Nearest misses: who lacks least room, then who passed most filters, then the first name."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from scheduler.model import HostHealth, HostResources, HostState
from scheduler.placement import Demand, Fleet, Policy, choose
from tests.placement.fleets import NOW, demand, host

CORDONED = host("cordoned", state=HostState.CORDONED)
IMAGELESS = host("imageless", observed_images=())
DOWN = host("down", health=HostHealth.DOWN)
HALF = host("half", reserved_memory_mb=16_384 - 1_152)
ALMOST = host("almost", reserved_memory_mb=16_384 - 2_300)
CPULESS = host("cpuless", reserved_cpus=16, reserved_memory_mb=16_384 - 2_300)
COUNTED = host("counted", limit_sandboxes=1, reserved_sandboxes=1)
ROOMY = host("roomy")


@pytest.mark.parametrize(
    ("hosts", "nearest"),
    [
        ([], []),
        ([ROOMY], []),
        ([HALF, ALMOST, CPULESS, ROOMY], ["almost", "half", "cpuless"]),
        ([CORDONED, IMAGELESS, CPULESS, DOWN], ["cpuless", "imageless", "down"]),
        ([COUNTED, HALF], ["half", "counted"]),
        ([host("b", arch=None, limit_cpus=0), host("a", limit_cpus=0)], ["a", "b"]),
    ],
)
def test_nearest_misses_stand_in_order(
    hosts: Collection[HostResources], nearest: Collection[str]
) -> None:
    choice = choose(demand(), Fleet.of(hosts), Policy.SPREAD, now=NOW)

    assert [each.host_name for each in choice.nearest] == nearest


def test_who_lacks_only_distance_from_its_group_is_nearest() -> None:
    fleet = Fleet.of([ALMOST, ROOMY], {"HST-roomy": ["db"]})

    choice = choose(demand(anti_affinity_group="db"), fleet, Policy.SPREAD, now=NOW)

    assert [each.filter for each in choice.nearest] == ["anti_affinity", "memory"]


@pytest.mark.parametrize(
    "asked",
    [
        demand(image="\x1b[2J<image/>\ud800"),
        demand(selector={"\x00": "'; DROP TABLE hosts; --"}),
        demand(network="../../etc", pool="{0}", arch="%s", host="{host}"),
        demand(anti_affinity_group="{group}"),
    ],
)
def test_hostile_names_are_only_data(asked: Demand) -> None:
    name = "{host}\x1b]0;\x07%(name)s"
    hosts = [host(name), host("b", state=HostState.CORDONED, state_reason="{0}\x1b[31m")]
    choice = choose(asked, Fleet.of(hosts, {"HST-b": ["{group}"]}), Policy.SPREAD, now=NOW)

    told = {each.host_name: each.message for each in choice.hosts}
    assert all(message.startswith(f"{name}: ") for name, message in told.items())
    assert choice.smallest_change is None or "{" not in choice.smallest_change.replace(
        "{host}", ""
    ).replace("{0}", "")
