"""capacity, against the real application."""

from __future__ import annotations

import pytest

from tests.cli.daemon import FaultyDaemon, sound
from tests.cli.fleet import Fleet
from tests.cli.running import Sandboxctl


async def test_how_many_fit_is_told_host_by_host(fleet: Fleet, sandboxctl: Sandboxctl) -> None:
    ran = await sandboxctl.run("capacity", "--memory", "3GiB")
    assert ran.code == 0
    fits, wanted = ran.rows[0], ran.out.splitlines()[1]
    assert fits[0] == "fits:"
    assert "2 vCPU" in wanted
    assert "image" not in wanted
    rows = {row[0]: row for row in ran.rows if row and row[0] in {"alpha", "beta"}}
    assert rows["alpha"][1:4] == ["2", "cpu", "4/4"]
    assert int(fits[1]) == int(rows["alpha"][1]) + int(rows["beta"][1])
    one = await sandboxctl.run("capacity", fleet.image, "--without", "beta", "--vcpus", "9")
    assert one.rows[0][1] == "0"
    assert "without:" in one.out
    assert "cpu 4 in all < 9 wanted" in one.out
    assert not [row for row in one.rows if row[:1] == ["beta"]]
    names = await sandboxctl.run("capacity", "--vcpus", "6", "-o", "name")
    assert names.out == "beta\n"
    later = await sandboxctl.run("capacity", "--at", "2h", "--select", "zone=two", "-o", "json")
    assert later.document["at"] is not None
    assert later.document["demand"]["host_selector"] == {"zone": "two"}
    unknown = await sandboxctl.run("capacity", "--without", "gamma")
    assert unknown.code == 3


async def test_an_empty_fleet_is_no_table(daemon: FaultyDaemon, sandboxctl: Sandboxctl) -> None:
    empty = {"fits": 0, "demand": {}, "hosts": [], "smallest_change": "add a host"}
    daemon.on("GET", "/v1/capacity", sound(empty))
    ran = await sandboxctl.run("capacity")
    assert ran.rows[-1] == ["would", "fit:", "add", "a", "host"]


@pytest.mark.parametrize("at", ["soon", "-1h", "999999999d"])
def test_what_is_no_time_is_refused(daemon: FaultyDaemon, sandboxctl: Sandboxctl, at: str) -> None:
    assert sandboxctl("capacity", "--at", at).code == 2
    assert daemon.seen == []
