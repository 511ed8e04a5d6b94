"""All hosts but one hang: the daemon answers, polls and places as if they were not there.

SIGSTOP is the hang that shows nothing: connections stay open, new ones are taken, nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.farm.estate import Estate, estate
from tests.fleet.farm import FarmHost, LibvirtdFarm

ABANDONED_THREADS = 4
ROUNDS = 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("count", "verdict"), [(5, "SUSPECT"), pytest.param(20, "DOWN", marks=pytest.mark.slow)]
)
def test_all_hosts_but_one_hang_and_nobody_waits_for_them(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm], count: int, verdict: str
) -> None:
    farm = make_farm(count)
    *others, healthy = farm
    with estate(tmp_path, farm.hosts, lambda host: host.uri) as all_up:
        kept = all_up.created("kept", host=others[0].name)
        doomed = all_up.created("doomed", host=others[1].name)
        with all_up.watch(healthy) as idle:
            _go_round(all_up, healthy, "idle")
        threads = all_up.threads()

        for host in others:
            host.suspend()
        with all_up.watch(healthy) as hung:
            _go_round(all_up, healthy, "unnoticed")
            all_up.daemon.api.delete(f"/v1/sandboxes/{doomed['id']}")
            all_up.wait_for_health(others, "SUSPECT", "DOWN")
            for number in range(ROUNDS):
                free = all_up.created(f"free-{number}")
                assert free["host_name"] == healthy.name
            all_up.wait_for_health(others, verdict, "DOWN")
            _go_round(all_up, healthy, "noticed")
        assert all_up.daemon.sandbox("kept")["state"] == "RUNNING"
        assert all_up.daemon.sandbox(doomed["id"])["state"] != "DESTROYED"
        assert all_up.threads() <= threads + ABANDONED_THREADS * len(others)
        hung.assert_nobody_waited(idle.seen)

        for host in others:
            host.resume()
        all_up.wait_for_health(others, "UP")
        all_up.daemon.wait_for(doomed["id"], state="DESTROYED")
        _used_again(all_up, others)
        after = all_up.daemon.sandbox("kept")
        assert (after["state"], after["domain_uuid"]) == ("RUNNING", kept["domain_uuid"])


def _go_round(estate: Estate, host: FarmHost, name: str) -> None:
    """Have sandboxes come and go on one host, one after the other."""
    for number in range(ROUNDS):
        estate.destroyed(estate.created(f"{name}-{number}", host=host.name))


def _used_again(estate: Estate, hosts: list[FarmHost]) -> None:
    """Prove that each host takes a sandbox, and holds nothing when it is gone."""
    before = {host.name: estate.holds(host) for host in hosts}
    made = [estate.create(f"again-{host.name}", host=host.name) for host in hosts]
    for sandbox in made:
        estate.daemon.wait_for(sandbox["id"], state="RUNNING")
        estate.destroyed(sandbox)
    assert {host.name: estate.holds(host) for host in hosts} == before
