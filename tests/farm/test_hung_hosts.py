"""All hosts but one hang: the daemon answers, polls and places as if they were not there.

SIGSTOP is the hang that shows nothing: connections stay open, new ones are taken, nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.farm.estate import Estate, neighbours
from tests.fleet.farm import FarmHost, LibvirtdFarm

ABANDONED_THREADS = 5
"""At most, of each host that hangs: four calls, and one that listens to consoles."""
ROUNDS = 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "verdict"), [(5, "SUSPECT"), pytest.param(20, "DOWN", marks=pytest.mark.slow)]
)
def test_all_hosts_but_one_hang_and_nobody_waits_for_them(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm], count: int, verdict: str
) -> None:
    farm = make_farm(count + 1)
    *others, healthy, _ = farm
    with neighbours(tmp_path, farm, lambda host: host.uri) as both:
        all_up = both.estate
        kept = all_up.created("kept", host=others[0].name)
        doomed = all_up.created("doomed", host=others[1].name)
        threads = all_up.threads()

        for host in others:
            host.suspend()
        with both.watch(healthy) as hung:
            both.rounds(hung, healthy, "unnoticed", ROUNDS)
            all_up.daemon.api.delete(f"/v1/sandboxes/{doomed['id']}")
            all_up.wait_for_health(others, "SUSPECT", "DOWN")
            for number in range(ROUNDS):
                free = all_up.created(f"free-{number}")
                assert free["host_name"] == healthy.name
            all_up.wait_for_health(others, verdict, "DOWN")
            both.rounds(hung, healthy, "noticed", ROUNDS)
        assert all_up.daemon.sandbox("kept")["state"] == "RUNNING"
        assert all_up.daemon.sandbox(doomed["id"])["state"] != "DESTROYED"
        assert all_up.threads() <= threads + ABANDONED_THREADS * len(others)
        hung.assert_nobody_waited()

        for host in others:
            host.resume()
        all_up.wait_for_health(others, "UP")
        all_up.daemon.wait_for(doomed["id"], state="DESTROYED")
        _used_again(all_up, others)
        after = all_up.daemon.sandbox("kept")
        assert (after["state"], after["domain_uuid"]) == ("RUNNING", kept["domain_uuid"])


def _used_again(estate: Estate, hosts: list[FarmHost]) -> None:
    """Prove that each host takes a sandbox, and holds nothing when it is gone."""
    before = {host.name: estate.holds(host) for host in hosts}
    made = [estate.create(f"again-{host.name}", host=host.name) for host in hosts]
    for sandbox in made:
        estate.daemon.wait_for(sandbox["id"], state="RUNNING")
        estate.destroyed(sandbox)
    assert {host.name: estate.holds(host) for host in hosts} == before
