"""The way to all hosts but one is bad: it stalls, loses, breaks, or breaks after a change was made.

The network lies between the daemon and libvirtd that are both well, so that what a lost answer left
behind is there to be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import methodcaller
from pathlib import Path

import pytest

from tests.farm.estate import estate, neighbours
from tests.farm.proxy import Manner, Procedure, Proxies
from tests.fleet.farm import FarmHost, LibvirtdFarm
from tests.fleet.process import wait_until

HOSTS = 4
ROUNDS = 3
CREATING = (
    Procedure.STORAGE_VOL_CREATE_XML,
    Procedure.DOMAIN_DEFINE_XML_FLAGS,
    Procedure.DOMAIN_CREATE,
)
ENDING = (
    Procedure.DOMAIN_DESTROY,
    Procedure.DOMAIN_UNDEFINE_FLAGS,
    Procedure.STORAGE_VOL_DELETE,
)


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[Proxies]:
    with Proxies(tmp_path) as proxies:
        yield proxies


@pytest.mark.timeout(600)
def test_bad_ways_to_all_hosts_but_one_cost_the_one_nothing(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm], proxies: Proxies
) -> None:
    farm = make_farm(HOSTS + 1)
    *others, healthy, _ = farm
    with neighbours(tmp_path, farm, proxies.before) as both:
        all_up = both.estate
        kept = [all_up.created(f"kept-{host.name}", host=host.name) for host in others]
        manners = (Manner.STALL, Manner.BLACKHOLE, Manner.RESET)
        for host, manner in zip(others, manners, strict=True):
            proxies.tell(host, methodcaller("behave", manner))
        with both.watch(healthy) as watch:
            both.rounds(watch, healthy, "unnoticed", ROUNDS)
            all_up.wait_for_health(others, "SUSPECT", "DOWN")
            free = all_up.created("free")
            both.rounds(watch, healthy, "noticed", ROUNDS)
        assert free["host_name"] == healthy.name
        watch.assert_nobody_waited()

        for host in others:
            proxies.tell(host, methodcaller("behave", Manner.PASS))
        all_up.wait_for_health(others, "UP")
        for host in others:
            all_up.destroyed(all_up.created(f"again-{host.name}", host=host.name))
        for sandbox in kept:
            after = all_up.daemon.sandbox(sandbox["id"])
            assert (after["state"], after["domain_uuid"]) == ("RUNNING", sandbox["domain_uuid"])


@pytest.mark.timeout(600)
def test_what_was_done_though_the_answer_was_lost_is_done_once(
    tmp_path: Path, make_farm: Callable[[int], LibvirtdFarm], proxies: Proxies
) -> None:
    (host,) = make_farm(1)
    with estate(tmp_path, [host], proxies.before) as up:
        for procedure in CREATING:
            _lose(proxies, host, procedure)
            made = up.created(f"made-{procedure.value}")
            _wait_for_loss(proxies, host)
            assert up.holds(host) == _all_of(made)
            up.destroyed(made)
        for procedure in ENDING:
            made = up.created(f"ended-{procedure.value}")
            _lose(proxies, host, procedure)
            up.destroyed(made)
            _wait_for_loss(proxies, host)
            assert up.holds(host) == set()
        record = up.daemon.host(host.name)
        assert (record["reserved_cpus"], record["reserved_storage_mb"]) == (0, 0)


def _lose(proxies: Proxies, host: FarmHost, procedure: Procedure) -> None:
    proxies.tell(host, methodcaller("lose_answer", procedure))


def _wait_for_loss(proxies: Proxies, host: FarmHost) -> None:
    wait_until(lambda: bool(proxies.tell(host, lambda proxy: proxy.has_lost)), what="the loss")


def _all_of(sandbox: dict[str, object]) -> set[str]:
    """Return what a host holds of a sandbox: its domain and its disk."""
    return {str(sandbox["sandbox_name"]), f"{str(sandbox['id']).lower()}.qcow2"}
